// SPDX-License-Identifier: GPL-3.0-or-later
// Completes everything at once, or with { later: true } in a microtask: for the bench.
'use strict';

exports.main = (binding) => {
  const { later } = JSON.parse(binding.configuration());
  binding.start({
    onRequest(id) {
      if (later) Promise.resolve().then(() => binding.complete(id, 0));
      else binding.complete(id, 0);
    },
    onCall() {},
    onAbandoned() {},
    onStop: () => binding.release(),
  });
  const timeouts = { callTimeoutMs: 10_000, removeTimeoutMs: 10_000, metricsTimeoutMs: 10_000, stopTimeoutMs: 0 };
  binding.ready({ storage: true, rangeReads: true, lanes: 1, ...timeouts, watchdogMs: 30_000 });
};

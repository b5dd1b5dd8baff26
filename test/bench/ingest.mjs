// SPDX-License-Identifier: GPL-3.0-or-later
// node test/bench/ingest.mjs [--box trixie|testing] [--plugin FILE] [--rounds N] [--instances N] [--clients N] [--kilobytes N]: what
// encryption costs an Orthanc that is being filled, and what a second event loop brings it. FILE is built beforehand; OOS_BUNDLE names another bundle than the one inside it.

import { parseArgs } from 'node:util';

import { loadBench } from './load.mjs';

const { values } = parseArgs({
  options: {
    box: { type: 'string', default: 'trixie' },
    plugin: { type: 'string' },
    rounds: { type: 'string', default: '7' },
    instances: { type: 'string', default: '200' },
    clients: { type: 'string', default: '8' },
    kilobytes: { type: 'string', default: '500' },
  },
});
// A connection for many requests, as clouds have it; versitygw ends one after each by default.
process.env.VGW_KEEP_ALIVE ??= 'true';
const { main } = await loadBench('ingest.bench.ts', values);
await main({
  rounds: Number(values.rounds),
  instances: Number(values.instances),
  clients: Number(values.clients),
  pixelBytes: Number(values.kilobytes) * 1000,
});

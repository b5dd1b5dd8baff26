// SPDX-License-Identifier: GPL-3.0-or-later
// The built bundle with defects that a test can trigger, for ORTHANC_OBJECT_STORAGE_BUNDLE.

import { writeFile } from 'node:fs/promises';

/** A range of so many bytes is read without its last ones, and yet with success. */
export const SHORT_READ_BYTES = 60_001;

/** A content of so many bytes is stored, but its removal is forgotten. */
export const KEPT_BYTES = 60_003;

/** Each happens when a content of so many bytes is to be stored. */
export const DEFECTS = {
  exit: 70_001,
  throw: 70_002,
  rejection: 70_003,
  loop: 70_004,
  forget: 70_005,
  compute: 70_006,
} as const;

/** So long computes the event loop for `compute`, which then goes on as if nothing had been. */
export const COMPUTING_MS = 2000;

/** So long may a loop not turn, instead of the real bundle's 30 s. */
const WATCHDOG_MS = 4000;
/** So long waits the shim for anything but removals and metrics, instead of RequestTimeout and the real bundle's 5 s. */
const CALL_TIMEOUT_MS = 6000;

/** Writes the wrapper.
 *  @param bundle the real one */
export async function writeFaultyBundle(path: string, bundle: string): Promise<void> {
  await writeFile(
    path,
    `
const real = require(${JSON.stringify(bundle)});
const DEFECTS = ${JSON.stringify(DEFECTS)};
const shortReads = new Set();
const kept = new Set();
exports.main = (binding) => real.main({
  ...binding,
  allocate(id, sizeBytes) {
    if (sizeBytes === ${SHORT_READ_BYTES}) shortReads.add(id);
    binding.allocate(id, sizeBytes);
  },
  write(id, offset, bytes) {
    const isEnd = shortReads.has(id) && offset + bytes.length === ${SHORT_READ_BYTES};
    binding.write(id, offset, isEnd ? bytes.subarray(0, -1) : bytes);
  },
  ready: (settings) => binding.ready({
    ...settings, watchdogMs: ${WATCHDOG_MS}, callTimeoutMs: ${CALL_TIMEOUT_MS},
  }),
  start: (handlers) => binding.start({
    ...handlers,
    onRequest(id, operation, uuidOrPath, contentType, sizeBytes, ...rest) {
      switch (operation === 0 ? sizeBytes : undefined) {
        case DEFECTS.exit: process.exit(7);
        case DEFECTS.throw: setImmediate(() => { throw new Error('thrown by the test'); }); return;
        case DEFECTS.rejection: Promise.reject(new Error('rejected by the test')); return;
        case DEFECTS.loop: for (;;) {}
        case DEFECTS.forget: return;
        case DEFECTS.compute: for (const end = Date.now() + ${COMPUTING_MS}; Date.now() < end;) {} break;
        case ${KEPT_BYTES}: kept.add(uuidOrPath);
      }
      if (operation === 3 && kept.delete(uuidOrPath)) return;
      handlers.onRequest(id, operation, uuidOrPath, contentType, sizeBytes, ...rest);
    },
  }),
});
`,
  );
}

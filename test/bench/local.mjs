// SPDX-License-Identifier: GPL-3.0-or-later
// npm run bench:local -- [--box trixie|testing] [--plugin FILE] [--rounds N] [--delay MS]: what LocalCache costs and saves beside Orthanc's own
// folder and beside no cache: small files from one client, cold reads, and a start with 100,000 cached objects. FILE is built beforehand.

import { parseArgs } from 'node:util';

import { loadBench } from './load.mjs';

const { values } = parseArgs({
  options: {
    box: { type: 'string', default: 'trixie' },
    plugin: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    delay: { type: 'string', default: '20' },
  },
});
const { main } = await loadBench('local.bench.ts', values);
await main({ rounds: Number(values.rounds), delayMs: Number(values.delay) });

// SPDX-License-Identifier: GPL-3.0-or-later
// node test/bench/orthanc.mjs [--box trixie|testing] [--plugin FILE] [--rounds N] [--provider s3|azure|google] [--lanes N] [--megabytes N]:
// what the plugin adds to Orthanc, beside Orthanc without it in the same run: time to start, idle memory, peak memory of one large
// instance in and out. FILE is built beforehand.

import { parseArgs } from 'node:util';

import { loadBench } from './load.mjs';

const { values } = parseArgs({
  options: {
    box: { type: 'string', default: 'trixie' },
    plugin: { type: 'string' },
    rounds: { type: 'string', default: '7' },
    provider: { type: 'string', default: 's3' },
    lanes: { type: 'string', default: '1' },
    megabytes: { type: 'string', default: '200' },
  },
});
const { main } = await loadBench('orthanc.bench.ts', values);
await main({
  rounds: Number(values.rounds),
  provider: values.provider,
  lanes: Number(values.lanes),
  megabytes: Number(values.megabytes),
});

// SPDX-License-Identifier: GPL-3.0-or-later
// npm run bench:peak -- [--box trixie|testing] [--plugin FILE] [--rounds N] [--provider s3|azure|google] [--megabytes N]: the memory that
// one large instance takes, in and out, beside Orthanc without the plugin. FILE is built beforehand.

import { parseArgs } from 'node:util';

import { loadBench } from './load.mjs';

const { values } = parseArgs({
  options: {
    box: { type: 'string', default: 'trixie' },
    plugin: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    provider: { type: 'string', default: 's3' },
    megabytes: { type: 'string', default: '512' },
  },
});
const { main } = await loadBench('peak.bench.ts', values);
await main({
  rounds: Number(values.rounds),
  provider: values.provider,
  megabytes: Number(values.megabytes),
});

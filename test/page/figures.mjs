// SPDX-License-Identifier: GPL-3.0-or-later
// npm run page:figures -- [--box trixie|testing] [--seconds N]: the page's size, its first paint, and what it costs Orthanc.

import { parseArgs } from 'node:util';

import { loadBench } from '../bench/load.mjs';

const { values } = parseArgs({
  options: {
    box: { type: 'string', default: 'trixie' },
    seconds: { type: 'string', default: '60' },
  },
});
const { main } = await loadBench('../page/figures.ts', values);
await main(Number(values.seconds));

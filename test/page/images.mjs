// SPDX-License-Identifier: GPL-3.0-or-later
// npm run page:images -- [--box trixie|testing] [--out FOLDER]: the pictures in docs/images, of a real Orthanc, in three minutes.

import { parseArgs } from 'node:util';

import { inProject } from '../../scripts/lib/paths.mjs';
import { loadBench } from '../bench/load.mjs';

const { values } = parseArgs({
  options: {
    box: { type: 'string', default: 'trixie' },
    out: { type: 'string', default: inProject('docs', 'images') },
  },
});
const { main } = await loadBench('../page/images.ts', values);
await main(values.out);

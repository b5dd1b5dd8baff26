// SPDX-License-Identifier: GPL-3.0-or-later
// npm run package -- [--for debian13|testing | --box trixie|testing] [--out DIR] [--check-reproducible]

import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { checkNodeVersion } from './lib/host.mjs';
import { runMain, say } from './lib/log.mjs';
import { parseOptions } from './lib/options.mjs';
import { makePackages } from './lib/package.mjs';
import { readCommit } from './lib/project.mjs';
import { checkReproducible } from './lib/reproducible.mjs';
import { choosePackagedTargets } from './lib/targets.mjs';

runMain(async () => {
  checkNodeVersion();
  const { values } = parseOptions({
    for: { type: 'string' },
    box: { type: 'string' },
    out: { type: 'string', default: 'dist/packages' },
    'check-reproducible': { type: 'boolean', default: false },
  });
  const targets = choosePackagedTargets(values);
  const { date, isClean } = await readCommit();
  if (values['check-reproducible']) return await checkReproducible(targets);
  if (!isClean)
    say('This folder has changes that are not committed: the packages are of no commit.');

  const out = resolve(values.out);
  await mkdir(out, { recursive: true });
  /** @type {Map<string, string>} */ const sums = new Map();
  for (const target of targets) {
    const { folder, files } = await makePackages({ target, date });
    for (const file of files) {
      await copyFile(join(folder, file), join(out, file));
      const hash = createHash('sha256').update(await readFile(join(out, file)));
      sums.set(file, hash.digest('hex'));
    }
  }
  const lines = [...sums].sort().map(([file, sum]) => `${sum}  ${file}\n`);
  await writeFile(join(out, 'SHA256SUMS'), lines.join(''));
  say(`In ${out}:\n${[...sums.keys(), 'SHA256SUMS'].map((file) => `  ${file}`).join('\n')}`);
});

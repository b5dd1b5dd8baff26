// SPDX-License-Identifier: GPL-3.0-or-later
// npm run clean: removes what was built here, the data of "npm start", and the user's cache of boxes and servers.

import { removeTree } from './lib/cache.mjs';
import { removeImages } from './lib/docker-box.mjs';
import { hasDocker } from './lib/host.mjs';
import { runMain, runStep } from './lib/log.mjs';
import { cacheRoot, inProject } from './lib/paths.mjs';

runMain(async () => {
  for (const folder of [inProject('build'), inProject('dist'), cacheRoot]) {
    await runStep(`Removing ${folder}`, () => removeTree(folder));
  }
  if (await hasDocker()) await runStep('Removing the images of the boxes', removeImages);
});

// SPDX-License-Identifier: GPL-3.0-or-later
// What an Orthanc of a compose file is configured with, as the image's entry point works it out.

import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { type Box, runInBoxOrFail } from '../../scripts/lib/box.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import type { Configuration } from './orthanc.ts';

/** The part of a compose file's service that makes the configuration. */
export interface ComposeService {
  readonly environment: Readonly<Record<string, string>>;
  readonly secrets: readonly { readonly source: string; readonly target: string }[];
}

const STAND_IN = inProject('test', 'image', 'stand-in');
const PLUGINS = '/usr/share/orthanc/plugins';

/** Runs test/image/stand-in/configure.py in the box.
 *  @param folder that the box sees; is made
 *  @param secrets of each source, what its file holds
 *  @returns the configuration; its "Plugins" is a folder with those that the entry point has chosen */
export async function configureAsImage(
  box: Box,
  folder: string,
  service: ComposeService,
  plugin: string,
  secrets: Readonly<Record<string, string>>,
): Promise<Configuration> {
  const places = ['etc', 'secrets', 'startup', 'available', 'plugins'];
  for (const place of places) await mkdir(join(folder, place), { recursive: true });
  for (const { source, target } of service.secrets) {
    await writeFile(join(folder, 'secrets', target), `${secrets[source]}\n`);
  }
  for (const path of [
    join(STAND_IN, 'plugins-def.json'),
    inProject('docker', 'plugins-def-object-storage.json'),
  ]) {
    await copyFile(path, join(folder, 'startup', path.slice(path.lastIndexOf('/') + 1)));
  }
  await copyFile(plugin, join(folder, 'available', 'libOrthancObjectStorage.so'));

  const output = join(folder, 'orthanc-of-image.json');
  const configure = [
    'python3',
    join(STAND_IN, 'configure.py'),
    '--output',
    output,
    ...places.flatMap((place) => [`--${place}`, join(folder, place)]),
  ];
  const script = `cp -L ${PLUGINS}*/libOrthancPostgreSQL*.so "$0" && exec "$@"`;
  await runInBoxOrFail(box, ['sh', '-c', script, join(folder, 'available'), ...configure], {
    binds: [folder],
    env: { ...(await readImageVariables()), ...service.environment },
  });
  const configuration = JSON.parse(await readFile(output, 'utf8')) as Configuration;
  return { ...configuration, Plugins: [join(folder, 'plugins')] };
}

/** Those that docker/Dockerfile sets. */
async function readImageVariables(): Promise<Record<string, string>> {
  const text = await readFile(inProject('docker', 'Dockerfile'), 'utf8');
  const pairs = [...text.matchAll(/(\w+_PLUGIN_ENABLED)=(false)/g)];
  return Object.fromEntries(pairs.map(([, name = '', value = '']) => [name, value]));
}

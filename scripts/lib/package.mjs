// SPDX-License-Identifier: GPL-3.0-or-later
// From the plugin to packages: a .deb by Debian's own tools, and a .tar.gz of the same files.

import { chmod, copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { ensureBox, runInBoxOrFail } from './box.mjs';
import { buildPlugin, pluginFile } from './build.mjs';
import { runStep } from './log.mjs';
import { readPackages, renderDebianCopyright } from './notices.mjs';
import { inProject } from './paths.mjs';
import { readProject } from './project.mjs';
import { renderSbom } from './sbom.mjs';
import { findTarget } from './targets.mjs';
import { importTypeScript } from './typescript.mjs';

/** Of the package, and of the command. */
export const packageName = 'orthanc-object-storage';

/** By Debian's own variables. The other domain is one that cannot exist. */
const maintainer =
  `${process.env.DEBFULLNAME || 'The maintainers of orthanc-object-storage'} ` +
  `<${process.env.DEBEMAIL || 'maintainers@orthanc-object-storage.invalid'}>`;

/** What of the project goes into a package as it is. */
const documents = [
  'README.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'LICENSE',
  'compose.yaml',
  'deploy',
  'docker',
  'docs',
];

/**
 * @param {object} options
 * @param {string} options.target
 * @param {Date} options.date of everything inside
 * @param {string} [options.version] another than the project's, to try an upgrade
 * @param {(text: string) => string} [options.editSettings] for the same
 * @returns {Promise<{ folder: string, files: readonly string[] }>} a .deb, a .tar.gz, and what is inside
 */
export async function makePackages({ target, date, version, editSettings = (text) => text }) {
  const { box, image, revision } = findTarget(target);
  const project = await readProject();
  const upstream = version ?? project.version;
  const folder = inProject('build', 'package', `${target}-${upstream}`);
  const [built, source, out] = ['built', 'source', 'out'].map((name) => join(folder, name));
  await rm(folder, { recursive: true, force: true });
  await mkdir(out, { recursive: true });
  await buildPlugin({ box, image, out: built });
  const packager = await ensureBox(box, { image, purpose: 'packager' });

  await runStep(`Packing ${upstream} for ${target}`, async () => {
    await writeSource({ built, source, upstream, date });
    const settings = join(source, 'object-storage.json');
    await writeFile(settings, editSettings(await readFile(settings, 'utf8')));
    await writeDebianFolder(join(source, 'debian'), `${upstream}-${revision}`, date);
    const env = {
      SOURCE_DATE_EPOCH: `${date.getTime() / 1000}`,
      PLUGIN_VERSION: upstream,
      ORTHANC_MINIMUM: project.orthancMinimum,
      NODE_MINIMUM: project.nodeMinimum,
    };
    const archive = `${packageName}-${upstream}-${target}`;
    const argv = ['sh', '-euc', packScript, 'sh', packageName, archive];
    await runInBoxOrFail(packager, argv, { cwd: source, env });
  });
  return { folder: out, files: (await readdir(out)).sort() };
}

/** debhelper writes the .deb into the folder above. */
const packScript = `
package=$1 archive=$2-$(dpkg --print-architecture) out=../out
debian/rules binary
mv ../*.deb "$out"
lintian --allow-root --fail-on error --no-tag-display-limit "$out"/*.deb
root=debian/$package
mkdir "$archive"
cp $root/usr/lib/orthanc/*.so.* "$archive/${pluginFile}"
cp -R "$package" "$package.1" object-storage.json THIRD-PARTY-NOTICES.txt sbom.cdx.json documents/* "$archive"
cp "completions/$package" "$archive/$package.bash"
cp sbom.cdx.json "$out/$package-$PLUGIN_VERSION.cdx.json"
cp THIRD-PARTY-NOTICES.txt "$out/$package-$PLUGIN_VERSION-THIRD-PARTY-NOTICES.txt"
tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "$archive" |
  gzip -9n > "$out/$archive.tar.gz"
`;

/**
 * Pictures of the page are as large as the rest together, and docker/secrets is this machine's own.
 * @param {string} path
 */
const isPublic = (path) => !path.endsWith('.png') && path !== inProject('docker', 'secrets');

/**
 * What debian/install and its neighbours take, and the .tar.gz.
 * @param {{ built: string, source: string, upstream: string, date: Date }} options
 */
async function writeSource({ built, source, upstream, date }) {
  await mkdir(join(source, 'completions'), { recursive: true });
  await copyFile(join(built, pluginFile), join(source, `${pluginFile}.${upstream}`));
  await copyFile(join(built, 'THIRD-PARTY-NOTICES.txt'), join(source, 'THIRD-PARTY-NOTICES.txt'));
  const command = await readFile(join(built, 'cli.js'), 'utf8');
  // The map stays behind.
  await writeFile(join(source, packageName), command.replace(/^\/\/# sourceMappingURL=.*\n?/m, ''));
  await chmod(join(source, packageName), 0o755);
  for (const name of documents) {
    await cp(inProject(name), join(source, 'documents', name), {
      recursive: true,
      filter: isPublic,
    });
  }
  const made = await importTypeScript([
    'cli/completion.ts',
    'cli/man-page.ts',
    'cli/program.ts',
    'config/sample.ts',
    'providers/index.ts',
  ]);
  const { createProgram, renderBashCompletion, renderManPage, renderSample, PROVIDERS } = made;
  const day = date.toISOString().slice(0, 10);
  const texts = {
    'object-storage.json': renderSample(PROVIDERS),
    [`${packageName}.1`]: renderManPage(createProgram(upstream), day),
    [`completions/${packageName}`]: renderBashCompletion(createProgram(upstream)),
    'sbom.cdx.json': await renderSbom(await readBundledFolders()),
  };
  for (const [name, text] of Object.entries(texts)) await writeFile(join(source, name), text);
}

/**
 * @param {string} folder
 * @param {string} version
 * @param {Date} date
 */
async function writeDebianFolder(folder, version, date) {
  await cp(inProject('packaging', 'debian'), folder, { recursive: true });
  const control = await readFile(join(folder, 'control'), 'utf8');
  await writeFile(join(folder, 'control'), control.replace('@MAINTAINER@', maintainer));
  const packages = await readPackages(await readBundledFolders());
  const own = await readFile(join(folder, 'copyright'), 'utf8');
  await writeFile(join(folder, 'copyright'), `${own}\n${renderDebianCopyright(packages)}`);
  const day = date.toUTCString().replace('GMT', '+0000');
  await writeFile(
    join(folder, 'changelog'),
    `${packageName} (${version}) unstable; urgency=medium\n\n` +
      `  * Made from the sources of that version.\n\n -- ${maintainer}  ${day}\n`,
  );
}

/** @returns {Promise<readonly string[]>} as scripts/bundle.mjs has left them */
async function readBundledFolders() {
  return JSON.parse(await readFile(inProject('build', 'bundle', 'packages.json'), 'utf8'));
}

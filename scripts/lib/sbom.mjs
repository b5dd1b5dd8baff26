// SPDX-License-Identifier: GPL-3.0-or-later
// The software bill of materials: what npm knows of the packages inside, in CycloneDX.

import { readFile } from 'node:fs/promises';

import { inProject } from './paths.mjs';
import { run } from './run.mjs';

/**
 * @param {readonly string[]} folders of the bundled packages, relative to the project's
 * @returns {Promise<string>} the same for the same packages, whatever the time and the name of this folder
 */
export async function renderSbom(folders) {
  const names = await Promise.all(
    folders.map(async (folder) => {
      const { name, version } = JSON.parse(
        await readFile(inProject(folder, 'package.json'), 'utf8'),
      );
      return `${name}@${version}`;
    }),
  );
  const own = JSON.parse(await readFile(inProject('package.json'), 'utf8'));
  const output = await run(['npm', 'sbom', '--sbom-format=cyclonedx'], { cwd: inProject() });
  const { serialNumber: _, metadata, components, dependencies, ...document } = JSON.parse(output);
  const root = metadata.component['bom-ref'];
  // npm lists all that is installed, and some packages twice, by the folders that they are in.
  const kept = new Map(
    components
      .filter((component) => names.includes(`${component.name}@${component.version}`))
      .map((component) => [`${component.name}@${component.version}`, component]),
  );
  const missing = names.filter((name) => !kept.has(name));
  if (missing.length > 0) throw new Error(`npm sbom does not know ${missing.join(', ')}`);
  const references = new Set([...kept.values()].map((component) => component['bom-ref']));
  const { timestamp: _time, ...about } = metadata;
  const bom = {
    ...document,
    metadata: { ...about, component: { ...metadata.component, name: own.name } },
    components: names.map((name) => withoutNpmsView(kept.get(name))),
    dependencies: dependencies
      .filter(({ ref }) => ref === root || references.has(ref))
      .map(({ ref, dependsOn }) => ({
        ref,
        dependsOn: dependsOn.filter((each) => references.has(each)),
      })),
  };
  return `${JSON.stringify(bom, undefined, 2)}\n`;
}

/** Of some, npm says that only development needs them, since it looks at package.json and not into the bundle. */
function withoutNpmsView(component) {
  const { properties, ...rest } = component;
  return { ...rest, scope: 'required' };
}

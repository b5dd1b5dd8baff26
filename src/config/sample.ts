// SPDX-License-Identifier: GPL-3.0-or-later
// Makes /etc/orthanc/object-storage.json of the packages, in which every setting is commented out.

import { docOf, type JsonSchema, type Shape, toJsonSchema } from './docs.ts';
import { ENCRYPTION_KEY, encryptionSchema } from './encryption.ts';
import { LOCAL_CACHE_KEY, localCacheSchema } from './local-cache.ts';
import { type ProviderSection, sectionSchema } from './sections.ts';

/** Longer explanations are in docs/configuration.md. */
const EXPLANATION_CHARACTERS = 160;

export function renderSample(providers: readonly ProviderSection[]): string {
  const sections = providers
    .filter(({ replacedBy }) => replacedBy === undefined)
    .flatMap((provider) => [
      '',
      ...renderSection(provider.section, sectionSchema(provider).shape, ''),
    ]);
  const text = [...INTRODUCTION, '{', ...sections, '', '}', ''].join('\n');
  // Whatever character set the administrator's editor takes it for.
  return text.replaceAll('…', '...');
}

/** Each line ends with a comma: Orthanc does not mind one too many, and any line may become the last. */
function renderSection(name: string, shape: Shape, indent: string): readonly string[] {
  const below = `${indent}  `;
  const lines = Object.entries(shape).flatMap(([key, field]) => {
    const inner = INNER_SECTIONS[key]?.();
    const setting =
      inner === undefined
        ? [`//${below}"${key}": ${sampleValue(toJsonSchema(field))},`]
        : renderSection(key, inner, below);
    return [`//${below}// ${explain(key, field)}`, ...setting];
  });
  return [`//${indent}"${name}": {`, ...lines, `//${indent}}, // the end of ${name}`];
}

const INNER_SECTIONS: Readonly<Record<string, () => Shape>> = {
  [ENCRYPTION_KEY]: () => encryptionSchema().shape,
  [LOCAL_CACHE_KEY]: () => localCacheSchema().shape,
};

/** As many sentences as fit, one at least. */
function explain(key: string, field: Shape[string]): string {
  const { description, required } = docOf(key, field);
  const [first = '', ...others] = description.replaceAll('`', '').split(/(?<=\.) (?=\S)/);
  let text = first;
  for (const sentence of others) {
    if (text.length + sentence.length >= EXPLANATION_CHARACTERS) break;
    text += ` ${sentence}`;
  }
  const values = (toJsonSchema(field).enum ?? []).map((value) => JSON.stringify(value));
  const areNamed = values.every((value) => text.includes(value));
  const choices = areNamed ? '' : ` One of ${values.join(', ')}.`;
  return `${required === true ? 'Required. ' : ''}${text}${choices}`;
}

/** The default, else what stands for "absent" or shows the form. */
function sampleValue(json: JsonSchema): string {
  if (json.default !== undefined) return JSON.stringify(json.default);
  switch (json.type) {
    case 'boolean':
      return 'true';
    case 'integer':
      return '1';
    case 'array':
      return `[${(json.prefixItems ?? []).map((item) => sampleValue(item as JsonSchema)).join(', ')}]`;
    case 'object':
      return '{}';
    default:
      return '""';
  }
}

const INTRODUCTION = [
  '// The settings of the object storage plugin for Orthanc. All of them are commented out, so the plugin does nothing, and Orthanc',
  '// keeps its files in its own folder.',
  '//',
  '// Take the two slashes away from the section of your provider, from its required settings, and from the line of its end. Then:',
  '//   orthanc-object-storage check --config /etc/orthanc',
  '//   systemctl restart orthanc',
  '//',
  '// What is shown is the default, or stands for "absent". configuration.md, in /usr/share/doc/orthanc-object-storage/docs, says more.',
];

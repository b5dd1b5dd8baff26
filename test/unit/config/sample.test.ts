// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfiguration } from '../../../src/config/load.ts';
import { renderSample } from '../../../src/config/sample.ts';
import { sectionKeys } from '../../../src/config/sections.ts';
import { PROVIDERS } from '../../../src/providers/index.ts';
import { readOrthancConfiguration } from '../../../src/tools/common/orthanc-configuration.ts';

const SAMPLE = renderSample(PROVIDERS);
const PRESENT = PROVIDERS.filter(({ replacedBy }) => replacedBy === undefined);

/** Where the sample has "", and one of them is needed. */
const FILLED: Readonly<Record<string, string>> = {
  BucketName: 'my-orthanc',
  Region: 'eu-central-1',
  ContainerName: 'my-orthanc',
  AccountUrl: 'https://account.blob.core.windows.net',
};

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oos-sample-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** As Orthanc reads it. */
async function parse(text: string) {
  const file = join(folder, 'object-storage.json');
  await writeFile(file, text);
  return readOrthancConfiguration(file, {});
}

async function load(text: string) {
  const json = JSON.stringify(await parse(text));
  return loadConfiguration(json, { orthancVersion: '1.12.7', environmentVariables: {} }, PROVIDERS);
}

/** The commented lines of a section, without their slashes. */
function linesOf(section: string): readonly string[] {
  const lines = SAMPLE.split('\n');
  const start = lines.indexOf(`//"${section}": {`);
  const end = lines.indexOf(`//}, // the end of ${section}`);
  return lines.slice(start, end + 1).map((line) => line.slice(2));
}

const bodyOf = (lines: readonly string[]) => `{\n${lines.join('\n')}\n}\n`;

test('as it is, it sets nothing', async () => {
  expect(await parse(SAMPLE)).toEqual({});
  expect(SAMPLE).toMatch(/^\p{ASCII}*$/u);
});

test.each(PRESENT)('$section has every setting, each explained in one line', (provider) => {
  const lines = linesOf(provider.section);
  for (const { section, keys } of sectionKeys(provider)) {
    const indent = '  '.repeat(section.split('.').length);
    for (const key of keys) {
      const at = lines.findIndex((line) => line.startsWith(`${indent}"${key}": `));
      expect(at, `${section}.${key}`).toBeGreaterThan(0);
      expect(lines[at - 1]).toMatch(new RegExp(`^${indent}// \\S.*[.]$`));
    }
  }
});

test.each(PRESENT)('$section: what it shows is what holds without it', async ({ section }) => {
  const isInner = (line: string) => /^ {4}|^ {2}("(LocalCache|StorageEncryption)"|\})/.test(line);
  const all = linesOf(section)
    .filter((line) => !isInner(line))
    .map((line) =>
      line.replace(/"(\w+)": ""/, (setting, key: string) =>
        FILLED[key] === undefined ? setting : `"${key}": "${FILLED[key]}"`,
      ),
    );
  const filled = all.filter((line) => /^(\S|.*my-orthanc|.*eu-central-1|.*windows.net)/.test(line));
  const settings = await load(bodyOf(all));
  expect(settings.warnings).toEqual((await load(bodyOf(filled))).warnings);
  expect(settings).toEqual(await load(bodyOf(filled)));
});

test('whichever settings are taken, the commas fit', async () => {
  const lines = linesOf('AwsS3Storage');
  const settings = lines.filter((line) => /^ {2}"(?!LocalCache|StorageEncryption)/.test(line));
  for (const setting of settings) {
    const [key = ''] = /\w+/.exec(setting) ?? [];
    const parsed = await parse(bodyOf(['"AwsS3Storage": {', setting, '},']));
    expect(Object.keys(parsed['AwsS3Storage'] as object)).toEqual([key]);
  }
});

// SPDX-License-Identifier: GPL-3.0-or-later
// What the packages bring, as far as it can be tried without making one; npm run package:test does the rest.

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Box, ensureBox } from '../../scripts/lib/box.mjs';
import { spawnOrthanc, waitForOrthanc } from '../../scripts/lib/orthanc.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { freePort } from '../../scripts/lib/ports.mjs';
import { stopProcess } from '../../scripts/lib/run.mjs';
import { type S3Service, startS3 } from '../../scripts/services.mjs';
import { renderSample } from '../../src/config/sample.ts';
import { PROVIDERS } from '../../src/providers/index.ts';
import { takeSlashesAway } from '../support/sample.ts';
import { boxName, plugin } from '../support/world.ts';

let box: Box;
let folder: string;
let store: S3Service;

beforeAll(async () => {
  box = await ensureBox(boxName);
  folder = await mkdtemp(join(tmpdir(), 'oos-package-'));
  store = await startS3({ folder: join(folder, 'store') });
  await store.createBucket('my-orthanc');
});

afterAll(async () => {
  await store?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Starts Orthanc with a folder of settings, as Debian's unit does, and tells what the plugin says of them. */
async function logOf(name: string, sample: string): Promise<string> {
  const etc = join(folder, name);
  await mkdir(etc);
  const httpPort = await freePort();
  const orthanc = {
    StorageDirectory: join(etc, 'db'),
    Plugins: [plugin],
    HttpPort: httpPort,
    DicomServerEnabled: false,
  };
  await writeFile(join(etc, 'orthanc.json'), JSON.stringify(orthanc));
  await writeFile(join(etc, 'object-storage.json'), sample);
  const logFile = join(folder, `${name}.log`);
  const child = await spawnOrthanc(box, etc, logFile);
  try {
    await waitForOrthanc(child, `http://127.0.0.1:${httpPort}`, logFile);
  } finally {
    await stopProcess(child);
  }
  return await readFile(logFile, 'utf8');
}

test("Orthanc reads the packages' settings as they are: all commented out, it keeps its own storage", async () => {
  expect(await logOf('as-it-is', renderSample(PROVIDERS))).toContain(
    'Orthanc keeps its own storage',
  );
});

test('Orthanc reads them with the slashes taken away, and keeps its files in the bucket', async () => {
  const settings = `"AwsS3Storage": {
  "BucketName": "my-orthanc",
  "Region": "${store.region}",
  "AccessKey": "${store.accessKey}",
  "SecretKey": "${store.secretKey}",
  "Endpoint": "${store.endpoint}",
  "VirtualAddressing": false,
},`;
  const log = await logOf('edited', takeSlashesAway(renderSample(PROVIDERS), settings));
  expect(log).toMatch(/my-orthanc/);
});

test('the package asks for the Orthanc that the plugin asks for', async () => {
  const { engines } = JSON.parse(await readFile(inProject('package.json'), 'utf8'));
  const shim = await readFile(inProject('native', 'plugin.cpp'), 'utf8');
  const control = await readFile(inProject('packaging', 'debian', 'control'), 'utf8');
  expect(`>=${/needs Orthanc ([\d.]+) or newer/.exec(shim)?.[1]}`).toBe(engines.orthanc);
  expect(control).toContain('orthanc (>= ${' + 'orthanc:Minimum})');
  expect(control).toContain('${' + 'shlibs:Depends}');
});

test('the notices name each package that is inside, with its licence', async () => {
  const folders = JSON.parse(
    await readFile(inProject('build', 'bundle', 'packages.json'), 'utf8'),
  ) as readonly string[];
  const notices = await readFile(inProject('dist', 'THIRD-PARTY-NOTICES.txt'), 'utf8');
  for (const name of ['@aws-sdk/client-s3', 'commander', 'node-addon-api', 'uplot', 'zod']) {
    expect(folders).toContain(`node_modules/${name}`);
  }
  for (const folder of folders) {
    const about = JSON.parse(await readFile(inProject(folder, 'package.json'), 'utf8'));
    expect(notices).toContain(`=== ${about.name} ${about.version} (${about.license})\n`);
  }
});

// SPDX-License-Identifier: GPL-3.0-or-later
// The docs, followed word for word by a new administrator: a real Orthanc with a password, a real store, the commands as they stand there,
// in that order, and what stands below them.

import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Box, ensureBox, runInBoxOrFail, spawnInBox } from '../../scripts/lib/box.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { freePort } from '../../scripts/lib/ports.mjs';
import { waitForExit } from '../../scripts/lib/run.mjs';
import { type S3Service, startS3 } from '../../scripts/services.mjs';
import { makeDicom } from '../support/dicom.ts';
import { type GuideMap, patternOf, readBlocks, typeCommands } from '../support/guide.ts';
import { boxName, plugin } from '../support/world.ts';

const INSTANCES = 5;
const START_LIMIT_MS = 60_000;

const USER = 'admin';
/** Which no URL could hold. */
const PASSWORD = 'p@ss/w#rd';

let box: Box;
let folder: string;
let store: S3Service;
let map: GuideMap;
let control: Server;
let url: string;
let orthanc: { readonly child: ChildProcess; readonly ended: Promise<number> } | undefined;

beforeAll(async () => {
  box = await ensureBox(boxName);
  folder = await mkdtemp(join(tmpdir(), 'oos-guide-'));
  const [etc, lib, bin] = ['etc', 'lib', 'bin'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [etc, lib, bin, join(folder, 'plugins')]) await mkdir(path);
  const httpPort = await freePort();
  const storePort = await freePort();
  url = `http://127.0.0.1:${httpPort}`;
  // What Debian's package says there, as far as it matters here.
  await writeFile(
    join(etc, 'orthanc.json'),
    `// Debian's own
{
  "Name": "Guide", /* a comment */
  "StorageDirectory": "${lib}/db-v6",
  "IndexDirectory": "${lib}/db-v6",
  "Plugins": ["${folder}/plugins"],
  "HttpPort": ${httpPort},
  "DicomPort": ${await freePort()},
  "RemoteAccessAllowed": false,
  "AuthenticationEnabled": true,
  "RegisteredUsers": { "${USER}": "${PASSWORD}" },
}
`,
  );
  store = await startS3({ folder: join(folder, 'store'), port: storePort });
  await store.createBucket('my-orthanc');
  control = await startControl();
  const { port: controlPort } = control.address() as AddressInfo;
  await writeTools(bin, controlPort);
  map = {
    places: [
      ['http://127.0.0.1:8042', url],
      ['/usr/share/orthanc/plugins', `${folder}/plugins`],
      ['dist/libOrthancObjectStorage.so', plugin],
      ['/var/lib/orthanc', lib],
      ['/etc/orthanc', etc],
      // Of this machine's store.
      ['"Region": "eu-central-1"', `"Region": "${store.region}", "Endpoint": "${store.endpoint}"`],
      ['"AccessKey": "…"', `"AccessKey": "${store.accessKey}"`],
      ['"SecretKey": "…"', `"SecretKey": "${store.secretKey}"`],
    ],
    box,
    environment: { PATH: `${bin}:/usr/local/bin:/usr/bin:/bin` },
    folder,
  };
  await chmod(folder, 0o755);
  await runInBoxOrFail(box, ['chown', 'orthanc', lib], { binds: [folder] });
  await symlink(inProject('dist'), join(folder, 'dist'));
});

afterAll(async () => {
  await stopOrthanc();
  control?.close();
  await store?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** What a machine has, and a box has not. */
async function writeTools(bin: string, controlPort: number): Promise<void> {
  const tools: Readonly<Record<string, string>> = {
    'orthanc-object-storage': `exec node ${inProject('dist/cli.js')} "$@"`,
    apt: 'exit 0',
    systemctl: `exec 3<>/dev/tcp/127.0.0.1/${controlPort}; printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' "$1" >&3; cat <&3 >/dev/null`,
    sudo: `exec ${asUser('"$2"').join(' ')} "\${@:3}"`,
  };
  for (const [name, script] of Object.entries(tools)) {
    await writeFile(join(bin, name), `#!/bin/bash\n${script}\n`);
    await chmod(join(bin, name), 0o755);
  }
}

/** systemctl's other end. */
async function startControl(): Promise<Server> {
  const actions: Readonly<Record<string, () => Promise<void>>> = {
    '/stop': stopOrthanc,
    '/start': startOrthanc,
    '/restart': async () => {
      await stopOrthanc();
      await startOrthanc();
    },
  };
  const server = createServer((request, response) => {
    const action = actions[request.url ?? ''] ?? (() => Promise.resolve());
    action().then(
      () => response.end(),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return server;
}

const asUser = (user: string) => [
  'setpriv',
  `--reuid=${user}`,
  '--regid=orthanc',
  '--clear-groups',
];

async function startOrthanc(): Promise<void> {
  const log = openSync(join(folder, 'lib', 'orthanc.log'), 'a');
  const child = spawnInBox(box, [...asUser('orthanc'), 'Orthanc', join(folder, 'etc')], {
    stdio: ['ignore', log, log],
    binds: [folder],
  });
  closeSync(log);
  orthanc = { child, ended: waitForExit(child) };
  const deadline = performance.now() + START_LIMIT_MS;
  while (performance.now() < deadline && child.exitCode === null && child.signalCode === null) {
    const answer = await fetch(`${url}/system`).catch(() => undefined);
    if (answer !== undefined) return;
    await sleep(100);
  }
}

async function stopOrthanc(): Promise<void> {
  orthanc?.child.kill('SIGTERM');
  const status = await orthanc?.ended;
  orthanc = undefined;
  // Nothing at all, refused, or stopped; not crashed.
  expect([undefined, 0, 255]).toContain(status);
}

const authorization = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`;

async function ask(method: string, path: string, body?: Uint8Array | string) {
  const answer = await fetch(`${url}${path}`, {
    method,
    headers: { authorization },
    ...(body === undefined ? {} : { body }),
  });
  return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()) };
}

const instances = new Map<string, Buffer>();

async function storeSome(first: number): Promise<void> {
  for (let number = first; number < first + INSTANCES; number++) {
    const file = makeDicom({ sopInstanceUid: `1.2.77.${number}`, pixelBytes: 20_000 });
    const { status, bytes } = await ask('POST', '/instances', file);
    expect(status).toBe(200);
    const { ID } = JSON.parse(bytes.toString()) as { readonly ID: string };
    instances.set(ID, Buffer.from(file));
  }
}

async function expectAllReadable(): Promise<void> {
  for (const [id, file] of instances) {
    const { status, bytes } = await ask('GET', `/instances/${id}/file`);
    expect([status, bytes.equals(file)]).toEqual([200, true]);
  }
}

const log = () => readFile(join(folder, 'lib', 'orthanc.log'), 'utf8');
const sectionFile = () => join(folder, 'etc', 'object-storage.json');

/** As somebody does it with an editor, where the docs say what the settings are to be. */
async function edit(changes: Readonly<Record<string, unknown>>): Promise<void> {
  const { AwsS3Storage } = JSON.parse(await readFile(sectionFile(), 'utf8')) as {
    readonly AwsS3Storage: object;
  };
  await writeFile(sectionFile(), JSON.stringify({ AwsS3Storage: { ...AwsS3Storage, ...changes } }));
}

async function restart(): Promise<void> {
  await stopOrthanc();
  await startOrthanc();
}

/** Types blocks of the docs into one shell, and expects what stands below them. */
async function follow(page: string, heading: string, ...numbers: readonly number[]) {
  const blocks = await readBlocks(page, heading);
  const chosen = numbers.map((number) => {
    const block = blocks[number];
    if (block === undefined) throw new Error(`${page}, "${heading}" has no block ${number}`);
    return block;
  });
  const printed = await typeCommands(chosen.map(({ commands }) => commands).join(''), map);
  const prints = chosen.map((block) => block.prints).filter((each) => each !== undefined);
  if (prints.length > 0) expect(printed).toMatch(patternOf(prints.join('')));
  // Whatever happens.
  expect(printed).not.toContain(PASSWORD);
  expect(printed).not.toContain(store.secretKey);
  return printed;
}

const OPERATIONS = 'docs/operations.md';
const ENCRYPTION = 'docs/encryption.md';

describe.sequential('a new administrator', () => {
  test('installs the plugin into a new Orthanc', async () => {
    await follow('README.md', 'Install it', 0);
    await storeSome(0);
    await expectAllReadable();
    await follow('README.md', 'Install it', 1);
  });

  test('asks with the password from the configuration, and with a wrong one', async () => {
    await follow(OPERATIONS, 'How a command asks Orthanc', 0);
    const verify = 'orthanc-object-storage verify --config /etc/orthanc';
    const { host } = new URL(url);
    const wrong = `ORTHANC_PASSWORD=wrong-pass ${verify} --orthanc http://${USER}@${host}; echo "exit $?"`;
    const printed = await typeCommands(wrong, map);
    expect(printed).toMatch(/password.*exit 1\s*$/s);
    expect(printed).not.toContain('wrong-pass');
    const broken = `${verify} --orthanc 'http://${USER}:${PASSWORD}@${host}'; echo "exit $?"`;
    const refused = await typeCommands(broken, map);
    expect(refused).toMatch(/exit 2\s*$/);
    expect(refused).not.toMatch(/p@ss|w#rd/);
  });

  test('puts the plugin beside an archive with a past, and is told of it', async () => {
    await stopOrthanc();
    await rm(sectionFile());
    await rm(join(folder, 'lib', 'db-v6'), { recursive: true });
    await rm(join(folder, 'store', 'data', 'my-orthanc'), { recursive: true });
    await store.createBucket('my-orthanc');
    instances.clear();
    await startOrthanc();
    await storeSome(100);
    await expectAllReadable();
    await follow('README.md', 'Install it', 0);
    const [id] = instances.keys();
    expect((await ask('GET', `/instances/${id}/file`)).status).toBe(404);
    const message =
      /StorageDirectory: ".*" holds attachments.*"HybridMode": "WriteToObjectStorage"/;
    expect(await log()).toMatch(message);
    const check = 'orthanc-object-storage check --config /etc/orthanc';
    expect(await typeCommands(check, map)).toMatch(message);
  });

  test('brings it into the bucket', async () => {
    await edit({ HybridMode: 'WriteToObjectStorage' });
    await follow(OPERATIONS, 'From the disk into the bucket', 0);
    await restart();
    await expectAllReadable();
    await storeSome(200);
    await follow(OPERATIONS, 'From the disk into the bucket', 1);
    await follow(OPERATIONS, 'From the disk into the bucket', 2);
    await follow(OPERATIONS, 'From the disk into the bucket', 3);
    await expectAllReadable();
  });

  test('removes the old files, and nothing else', async () => {
    const heading = 'Removing attachments from the disk';
    // Of somebody whom Orthanc has forgotten.
    const uuid = '4d0ab1c2-8e0e-4f6b-9a53-52a3d0f1c77e';
    const left = join(folder, 'lib', 'db-v6', '4d', '0a', uuid);
    await mkdir(dirname(left), { recursive: true });
    await writeFile(left, 'left');
    await follow(OPERATIONS, heading, 0);
    await follow(OPERATIONS, heading, 4);
    await follow(OPERATIONS, heading, 1, 2);
    await follow(OPERATIONS, heading, 3);
    await edit({ HybridMode: 'Disabled' });
    await restart();
    await expectAllReadable();
  });

  test('switches encryption on, and changes the key', async () => {
    await follow(ENCRYPTION, 'Switching on', 0);
    const first = '/etc/orthanc/master-1.key';
    const path = (key: string) => key.replace('/etc/orthanc', join(folder, 'etc'));
    const encryption = { Enable: true, MasterKey: [1, path(first)], Format: 'A2' };
    await edit({ StorageEncryption: encryption });
    await follow(ENCRYPTION, 'Switching on', 1);
    await restart();
    await storeSome(300);
    await follow(ENCRYPTION, 'Changing the master key', 0);
    const second = '/etc/orthanc/master-2.key';
    await edit({
      StorageEncryption: {
        ...encryption,
        MasterKey: [2, path(second)],
        PreviousMasterKeys: [[1, path(first)]],
      },
    });
    await follow(ENCRYPTION, 'Changing the master key', 1);
    await restart();
    await expectAllReadable();
    await follow(ENCRYPTION, 'Changing the master key', 2);
    await follow(ENCRYPTION, 'Changing the master key', 3);
    await edit({ StorageEncryption: { ...encryption, MasterKey: [2, path(second)] } });
    await restart();
    await expectAllReadable();
  });

  test('who loses the key is refused at start, and has it back', async () => {
    const key = join(folder, 'etc', 'master-2.key');
    await rename(key, `${key}.lost`);
    const before = (await log()).length;
    await restart();
    expect(orthanc?.child.exitCode).not.toBeNull();
    expect((await log()).slice(before)).toMatch(/MasterKey: there is no file ".*master-2\.key"/);
    await rename(`${key}.lost`, key);
    await restart();
    await expectAllReadable();
  });

  test('whose store is down when the machine boots', async () => {
    const before = (await log()).length;
    const { port } = store;
    await stopOrthanc();
    store.process.kill('SIGKILL');
    const starting = startOrthanc();
    await expect
      .poll(async () => (await log()).slice(before), { timeout: 30_000 })
      .toMatch(/Orthanc's start waits for the store, \d+ of 30 s \(StartTimeout\)/);
    store = await startS3({ folder: join(folder, 'store'), port });
    await starting;
    await expectAllReadable();
  });

  test('goes back to the disk', async () => {
    await edit({ HybridMode: 'WriteToFileSystem' });
    await stopOrthanc();
    await follow(OPERATIONS, 'The way back', 0);
    await startOrthanc();
    await follow(OPERATIONS, 'The way back', 1);
    await stopOrthanc();
    await edit({ HybridMode: 'Disabled' });
    const again = (await readBlocks(OPERATIONS, 'The way back'))[0]?.commands ?? '';
    expect(await typeCommands(again, map)).toMatch(
      /^0 files copied \(0 bytes\), \d+ there already/,
    );
    await rm(sectionFile());
    await startOrthanc();
    await expectAllReadable();
    expect((await log()).slice(-3_000)).not.toContain('Attachments are stored in s3');
  });
});

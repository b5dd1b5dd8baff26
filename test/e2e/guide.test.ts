// SPDX-License-Identifier: GPL-3.0-or-later
// The docs, followed word for word by new administrators: the commands as they stand there, in that order, and what stands below them.

import { access, mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inProject } from '../../scripts/lib/paths.mjs';
import { makeDicom } from '../support/dicom.ts';
import { readBlocks } from '../support/guide.ts';
import { createMachine, type Machine, typed, USER } from '../support/guide-machine.ts';

const INSTALLING = 'docs/installing.md';
const MIGRATING = 'docs/migrating.md';
const ENCRYPTION = 'docs/encryption.md';
const OPERATIONS = 'docs/operations.md';
const LOCAL_CACHE = 'docs/local-cache.md';
const ON_CALL = 'docs/on-call.md';

/** Machines side by side, since their Orthancs, stores and commands mostly wait; the tests of each one after another. */
function onMachine(
  who: string,
  options: Parameters<typeof createMachine>[0],
  define: (machine: () => Machine) => void,
): void {
  describe.concurrent(who, () => {
    describe.sequential('', () => {
      let machine: Machine | undefined;
      beforeAll(async () => {
        machine = await createMachine(options);
      });
      afterAll(() => machine?.close());
      define(() => machine as Machine);
    });
  });
}

/** As somebody does it with an editor, where the docs say what the settings are to be. */
async function edit({ folder }: Machine, changes: Readonly<Record<string, unknown>>) {
  const file = join(folder, 'etc', 'object-storage.json');
  const { AwsS3Storage } = JSON.parse(await readFile(file, 'utf8')) as {
    readonly AwsS3Storage: object;
  };
  await writeFile(file, JSON.stringify({ AwsS3Storage: { ...AwsS3Storage, ...changes } }));
}

async function installOn({ follow }: Machine): Promise<void> {
  await follow(INSTALLING, 'Debian');
  await follow(INSTALLING, 'The settings');
}

onMachine('who installs', { hasPassword: false }, (machine) => {
  test('has a first image in the bucket', async () => {
    const { folder, follow } = machine();
    await installOn(machine());
    await follow(INSTALLING, 'Check, then start');
    const putImage = (sopInstanceUid: string) =>
      writeFile(join(folder, 'image.dcm'), makeDicom({ sopInstanceUid, pixelBytes: 20_000 }));
    await putImage('1.2.77.1');
    await follow(INSTALLING, 'The first image');
    await putImage('1.2.77.2');
    await follow('README.md', 'Try it');
  });
});

onMachine('who has an archive on the disk', {}, (machine) => {
  test('keeps it when the plugin comes, and is told of the fork by check', async () => {
    const { restart, storeSome, follow, type, expectAllReadable } = machine();
    await restart();
    await storeSome();
    await follow(INSTALLING, 'Debian');
    await restart();
    await expectAllReadable();
    await follow(INSTALLING, 'The settings');
    expect(await type('orthanc-object-storage check --config /etc/orthanc')).toMatch(
      /StorageDirectory: ".*" holds attachments.*"HybridMode": "WriteToObjectStorage"/,
    );
  });

  test('brings it into the bucket', async () => {
    const { storeSome, follow, expectAllReadable } = machine();
    const steps = [
      '1. Look at what is there',
      '2. Back up the index',
      '4. Write the settings, with encryption if you want it',
      '5. Check, then restart',
      '6. Move one study, to see it work',
      '7. Copy the rest',
    ];
    for (const step of steps) await follow(MIGRATING, step);
    await expectAllReadable();
    await storeSome();
    await follow(MIGRATING, '8. Compare');
    await follow(MIGRATING, 'Inside Orthanc instead of step 7');
    await expectAllReadable();
  });

  test('removes the old files, and nothing else', async () => {
    const { folder, follow, expectAllReadable } = machine();
    // Of somebody whom Orthanc has forgotten.
    const uuid = '4d0ab1c2-8e0e-4f6b-9a53-52a3d0f1c77e';
    const left = join(folder, 'lib', 'db-v6', '4d', '0a', uuid);
    await mkdir(dirname(left), { recursive: true });
    await writeFile(left, 'left');
    await follow(MIGRATING, 'Removing files from the disk', 0);
    await follow(MIGRATING, 'Only what the index does not know');
    await follow(MIGRATING, 'Removing files from the disk', 1, 2, 3);
    await follow(MIGRATING, '10. Switch the disk off');
    await expectAllReadable();
  });

  test('goes back to the disk', async () => {
    const { follow, expectAllReadable, log } = machine();
    await follow(MIGRATING, 'The way back');
    await expectAllReadable();
    expect(await log()).not.toContain('Attachments are stored in s3');
  });
});

onMachine('who encrypts', {}, (machine) => {
  test('asks with a wrong password', async () => {
    const { restart, storeSome, type } = machine();
    await installOn(machine());
    await restart();
    await storeSome(3);
    const verify = 'orthanc-object-storage verify --config /etc/orthanc --orthanc';
    const wrong = await type(`ORTHANC_PASSWORD=wrong-pass ${verify} http://${USER}@127.0.0.1:8042`);
    expect(wrong).toMatch(/password.*exit 1\s*$/s);
    expect(wrong).not.toContain('wrong-pass');
  });

  test('switches encryption on, and changes the key', async () => {
    const { storeSome, follow, expectAllReadable } = machine();
    await follow(ENCRYPTION, 'Switching on');
    await storeSome(3);
    await follow(ENCRYPTION, 'Changing the master key');
    await expectAllReadable();
  });

  test('loses the key, is refused at start, and has it back', async () => {
    const { folder, follow, restart, isRunning, log, expectAllReadable } = machine();
    await follow(MIGRATING, '1. Look at what is there');
    await follow(ON_CALL, 'A key is lost');
    const key = join(folder, 'etc', 'master-2.key');
    await rename(key, `${key}.lost`);
    await restart();
    expect(isRunning()).toBe(false);
    expect(await log()).toMatch(/MasterKey: there is no file ".*master-2\.key"/);
    await rename(`${key}.lost`, key);
    await restart();
    await expectAllReadable();
  });
});

onMachine('who comes from a C++ plugin', {}, (machine) => {
  test('keeps the bucket, there and back', async () => {
    const { folder, follow, restart, storeSome, expectAllReadable } = machine();
    await installOn(machine());
    await restart();
    await storeSome();
    await rm(join(folder, 'plugins', 'libOrthancObjectStorage.so'));
    await writeFile(join(folder, 'plugins', 'libOrthancAwsS3Storage.so'), 'of no use here');
    await follow(MIGRATING, 'From the C++ plugins');
    await expectAllReadable();
  });

  test('moves to another bucket, which is encrypted, and back to a format of theirs', async () => {
    const { folder, follow, type, expectAllReadable } = machine();
    await mkdir(join(folder, 'store', 'data', 'my-orthanc-2'));
    await type('openssl rand -base64 32 > /etc/orthanc/master-1.key');
    await type('chown orthanc /etc/orthanc/master-1.key && chmod 600 /etc/orthanc/master-1.key');
    await follow(MIGRATING, 'From one bucket to another');
    await expectAllReadable();
    await edit(machine(), {
      StorageEncryption: {
        Enable: true,
        MasterKey: [1, join(folder, 'etc', 'master-1.key')],
        Format: 'A1',
      },
    });
    await follow(MIGRATING, 'Back to the C++ plugins');
    await expectAllReadable();
  });
});

onMachine('who has a local disk in front', {}, (machine) => {
  test('sets it up, and empties it', async () => {
    const { restart, follow, storeSome, expectAllReadable } = machine();
    await installOn(machine());
    await restart();
    await follow(MIGRATING, '1. Look at what is there');
    await follow(LOCAL_CACHE, 'Setting it up');
    await storeSome();
    await follow(LOCAL_CACHE, 'Emptying it');
    await edit(machine(), { DeleteInBackground: true });
    await restart();
    await expectAllReadable();
  });

  test('looks after it', async () => {
    const { follow } = machine();
    await follow(OPERATIONS, 'Operations');
    await follow('docs/metrics.md', 'ObjectStorageFailing');
  });
});

onMachine('who is on call', {}, (machine) => {
  const bucket = () => join(machine().folder, 'store', 'data', 'my-orthanc');

  test('finds that the store is away', async () => {
    const { restart, follow, storeSome, ask, stopStore, startStore } = machine();
    await installOn(machine());
    await edit(machine(), { MaxRetries: 0 });
    await restart();
    await storeSome();
    await follow(MIGRATING, '1. Look at what is there');
    await stopStore();
    const image = makeDicom({ sopInstanceUid: '1.2.78', pixelBytes: 2_000 });
    expect((await ask('POST', '/instances', image)).status).toBe(500);
    await follow(ON_CALL, 'Look first');
    await follow(ON_CALL, 'A disk is full');
    await startStore();
  });

  test('finds objects that somebody has deleted', async () => {
    const { follow } = machine();
    const names = await readdir(bucket());
    const key = names.find((name) => name.endsWith('.dcm')) ?? 'none';
    await rm(join(bucket(), key));
    await follow(ON_CALL, 'Objects or the bucket were deleted');
  });

  test('deletes orphans', async () => {
    const { follow } = machine();
    const orphan = join(bucket(), '4d0ab1c2-8e0e-4f6b-9a53-52a3d0f1c77e.dcm');
    await writeFile(orphan, makeDicom({ sopInstanceUid: '1.2.78', pixelBytes: 2_000 }));
    const days = new Date(Date.now() - 3 * 86_400_000);
    await utimes(orphan, days, days);
    await follow(ON_CALL, 'Orphans');
    expect(await readdir(bucket())).not.toContain('4d0ab1c2-8e0e-4f6b-9a53-52a3d0f1c77e.dcm');
  });

  test('restores an index', async () => {
    const { follow, storeSome, ask } = machine();
    await follow(ON_CALL, 'Backup and restore', 0);
    const [id] = JSON.parse((await ask('GET', '/instances')).bytes.toString()) as string[];
    await storeSome(1);
    await ask('DELETE', `/instances/${id}`);
    await follow(ON_CALL, 'Backup and restore', 1);
  });

  test('is warned of a new index', async () => {
    const { folder, follow, type } = machine();
    await type('systemctl stop orthanc');
    await rm(join(folder, 'lib', 'db-v6'), { recursive: true });
    await type('systemctl start orthanc');
    await follow(ON_CALL, "The index is lost, or another one's");
  });
});

/** What no box has. */
const NOT_RUN =
  /^not run: (needs (a cloud account|a C\+\+ plugin|another machine|Docker|Kubernetes|systemd)|takes minutes)$/;

test('each command of the docs was typed, or says why not', async () => {
  const below = await readdir(inProject('docs'), { recursive: true });
  const pages = below.filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`);
  const blocks = (await Promise.all(['README.md', ...pages].map(readBlocks))).flat();
  const unread = await Promise.all(
    blocks.map(async ({ place, mark = '' }) => {
      const [, test] = /^run by (\S+)$/.exec(mark) ?? [];
      if (test !== undefined) await access(inProject(test));
      return typed.has(place) || test !== undefined || NOT_RUN.test(mark) ? [] : [place];
    }),
  );
  expect(unread.flat()).toEqual([]);
});

// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc starts, is reset, stops; with the plugin alone and beside others.

import { copyFile, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeDicom } from '../support/dicom.ts';
import { type Configuration, type Orthanc, runRefusedOrthanc } from '../support/orthanc.ts';
import { createWorld, plugin, type World } from '../support/world.ts';

/** One more storage area, which Debian installs with Orthanc. */
const OTHER_PLUGIN = '/usr/share/orthanc/plugins/libDelayedDeletion.so';
const OTHER_ENABLED = { DelayedDeletion: { Enable: true } };

let world: World;
let instances = 0;

beforeAll(async () => {
  world = await createWorld();
  // Tests run side by side, since an Orthanc that stops sleeps most of the time: each has a folder of its own in the bucket.
  world.proxy.setFault(({ key }) => (hangs && key.startsWith('stopping/') ? HANG : undefined));
});

afterAll(() => world.close());

const HANG = { kind: 'hang' } as const;
let hangs = false;

const makeNext = () => {
  instances += 1;
  return makeDicom({ sopInstanceUid: `1.2.3.${instances}`, pixelBytes: 20_000 });
};

const configure = (rootPath: string, configuration: Configuration = {}) => ({
  configuration: { AwsS3Storage: { ...world.section, RootPath: rootPath }, ...configuration },
});

/** One in, out and away again. */
async function expectToWork(orthanc: Orthanc, rootPath: string): Promise<void> {
  const file = makeNext();
  const { ID } = await orthanc.upload(file);
  expect(await world.objects(rootPath)).toHaveLength(1);
  expect(Buffer.compare(await orthanc.get(`/instances/${ID}/file`), file)).toBe(0);
  await orthanc.request('DELETE', `/instances/${ID}`);
  expect(await world.objects(rootPath)).toEqual([]);
}

/** Where the box is a container, its processes are not to be seen. */
const threadsOf = async ({ pid }: Orthanc) =>
  world.box.kind === 'chroot' ? (await readdir(`/proc/${pid}/task`)).length : 0;

describe.concurrent('lifecycle', () => {
  test('POST /tools/reset several times, then SIGHUP with a changed configuration', async () => {
    const orthanc = await world.start('resets', configure('resets'));
    await expectToWork(orthanc, 'resets');
    const threads = await threadsOf(orthanc);
    for (let times = 2; times <= 4; times += 1) {
      await orthanc.request('POST', '/tools/reset', '');
      await orthanc.hasStarted(times);
      await expectToWork(orthanc, 'resets');
    }
    expect(await threadsOf(orthanc)).toBeLessThanOrEqual(threads + 2);

    const text = await readFile(orthanc.configurationFile, 'utf8');
    await writeFile(orthanc.configurationFile, text.replace('"resets"', '"moved"'));
    orthanc.signal('SIGHUP');
    await orthanc.hasStarted(5);
    await expectToWork(orthanc, 'moved');
    expect(await orthanc.stop()).toBe(0);
  });

  test('a plugin in a scanned folder', async () => {
    const folder = join(world.folder, 'plugins');
    await mkdir(folder);
    await copyFile(plugin, join(folder, 'libOrthancObjectStorage.so'));
    const orthanc = await world.start('scanned', configure('scanned', { Plugins: [folder] }));
    await expectToWork(orthanc, 'scanned');
    await orthanc.kill();
  });

  test('a plugin whose path is relative', async () => {
    const folder = join(world.folder, 'relative', 'plugins');
    await mkdir(folder, { recursive: true });
    await copyFile(plugin, join(folder, 'libOrthancObjectStorage.so'));
    const orthanc = await world.start('relative', {
      ...configure('relative', { Plugins: ['./plugins'] }),
      inFolder: true,
    });
    await expectToWork(orthanc, 'relative');
    await orthanc.kill();
  });

  test('a new file in the place of the plugin, or in another one, needs a restart', async () => {
    const folders = ['version-1', 'version-2'].map((name) => join(world.folder, name));
    for (const folder of folders) {
      await mkdir(folder);
      await copyFile(plugin, join(folder, 'libOrthancObjectStorage.so'));
    }
    const [first = '', second = ''] = folders;
    const orthanc = await world.start('replaced', configure('replaced', { Plugins: [first] }));
    const file = join(first, 'libOrthancObjectStorage.so');
    await copyFile(file, `${file}.new`);
    await rename(`${file}.new`, file);
    await orthanc.request('POST', '/tools/reset', '');
    await orthanc.hasStarted(2);
    await expectToWork(orthanc, 'replaced');
    const said = orthanc
      .log()
      .match(/^W.*plugin's file has been replaced since .*restart Orthanc/gm);
    expect(said).toHaveLength(1);

    const text = await readFile(orthanc.configurationFile, 'utf8');
    await writeFile(orthanc.configurationFile, text.replace(first, second));
    orthanc.signal('SIGHUP');
    expect(await orthanc.exited()).toBe(255);
    expect(orthanc.log()).toMatch(/^E.*restart Orthanc instead of resetting it/m);
  });

  test('an error of the REST API has one content type', async () => {
    const orthanc = await world.start('errors', configure('errors'));
    for (const path of ['/object-storage/nothing', '/object-storage/locate/studies/nothing']) {
      const { status, headers } = await orthanc.request('GET', path);
      expect([status, headers.get('content-type')]).toEqual([404, 'text/plain']);
    }
    await orthanc.kill();
  });

  test('SIGTERM while requests wait for a store that hangs', async () => {
    const orthanc = await world.start('stopping', configure('stopping'));
    await expectToWork(orthanc, 'stopping');
    hangs = true;
    const waiting = Array.from({ length: 4 }, () =>
      orthanc.request('POST', '/instances', makeNext()).then(
        ({ status }) => status,
        () => 'broken',
      ),
    );
    await sleep(500);
    const startedMs = performance.now();
    expect(await orthanc.stop()).toBe(0);
    // The plugin waits 8 s, and Orthanc itself takes about 3 s.
    expect(performance.now() - startedMs).toBeLessThan(15_000);
    for (const outcome of await Promise.all(waiting)) expect(outcome).not.toBe(200);
    // One line for each, by whoever has ended it.
    const said = orthanc.errorsSince(0).filter((line) => line.includes('op=create'));
    expect(said).toHaveLength(waiting.length);
    expect(said.join('\n')).toMatch(/code=CLOSED failed: Orthanc is stopping/);

    hangs = false;
    const next = await world.start('stopping', configure('stopping'));
    expect(await next.json('/instances')).toEqual([]);
    await expectToWork(next, 'stopping');
    await next.kill();
  });

  test('another storage plugin came first: Orthanc does not start, and is told why', async () => {
    const Plugins = [OTHER_PLUGIN, plugin];
    const options = world.options('second', configure('second', { ...OTHER_ENABLED, Plugins }));
    const { status, orthanc } = await runRefusedOrthanc(options, 30_000);
    expect(status).not.toBe(0);
    expect(orthanc.pluginLines().join('\n')).toMatch(
      /another plugin has registered one before.*"Plugins"/,
    );
  });

  test('another storage plugin comes second: ours stays in charge', async () => {
    const Plugins = [plugin, OTHER_PLUGIN];
    const orthanc = await world.start('first', configure('first', { ...OTHER_ENABLED, Plugins }));
    await expectToWork(orthanc, 'first');
    await orthanc.kill();
  });

  test('without a section Orthanc keeps its own storage, and is told once', async () => {
    const orthanc = await world.startPlain('idle', { Plugins: [plugin] });
    const file = makeNext();
    const { ID } = await orthanc.upload(file);
    expect(Buffer.compare(await orthanc.get(`/instances/${ID}/file`), file)).toBe(0);
    const said = orthanc.pluginLines().filter((line) => /keeps its own storage/.test(line));
    expect(said).toHaveLength(1);
    expect((await orthanc.request('GET', '/object-storage/status')).status).toBe(404);
    expect(await orthanc.stop()).toBe(0);
  });
});

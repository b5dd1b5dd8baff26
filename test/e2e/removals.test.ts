// SPDX-License-Identifier: GPL-3.0-or-later
// DeleteInBackground, in Orthanc: a study goes at once for its user, and a moment later in the bucket, also if Orthanc dies in between.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { REMOVALS_FOLDER } from '../../src/local/removals-journal.ts';
import { makeFiles, store } from '../support/archive.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { inParallel } from '../support/parallel.ts';
import type { ProxiedRequest } from '../support/store-proxy.ts';
import { createWorld, describeProviders, type World } from '../support/world.ts';

/** OOS_REMOVALS=1000 prints figures at 20 ms for each request. Without it, so much that waiting for the store would be noticed. */
const measured = process.env['OOS_REMOVALS'];
const INSTANCES = Number(measured ?? 150);
const LATENCY_MS = measured === undefined ? 400 : 20;
const ALL_GONE_MS = 60_000;

interface Status {
  readonly removals: {
    readonly pending: number;
    readonly carriedOut: number;
    readonly refused: number;
    readonly refusedObjects: readonly { readonly key: string }[];
  } | null;
}

const isRemoval = ({ method, query }: ProxiedRequest) =>
  method === 'DELETE' || /^delete|comp=batch/.test(query);

/** `expect.poll` knows no test that runs beside others. */
async function eventually(assert: () => Promise<void>): Promise<void> {
  await vi.waitFor(assert, { timeout: ALL_GONE_MS, interval: 50 });
}

async function firstStudy(orthanc: Orthanc): Promise<string> {
  const [study] = (await orthanc.json('/studies')) as string[];
  return `/studies/${study}`;
}

/** @returns how long it took, and how long others waited meanwhile */
async function deleteStudy(orthanc: Orthanc) {
  const study = await firstStudy(orthanc);
  let isOver = false;
  let blockedMs = 0;
  const watch = async () => {
    while (!isOver) {
      const askedMs = performance.now();
      await orthanc.json('/statistics');
      blockedMs = Math.max(blockedMs, Math.round(performance.now() - askedMs));
    }
  };
  const watching = watch();
  const startedMs = performance.now();
  expect((await orthanc.request('DELETE', study)).status).toBe(200);
  const deletedMs = Math.round(performance.now() - startedMs);
  isOver = true;
  await watching;
  return { deletedMs, blockedMs };
}

describeProviders('removals in the background', (provider) => {
  let world: World;

  beforeAll(async () => {
    world = await createWorld({ provider });
  });
  let running: Orthanc | undefined;
  afterEach(async () => {
    world.proxy.setFault(undefined);
    await running?.stop();
  });
  afterAll(() => world.close());

  async function start(changes = {}): Promise<Orthanc> {
    running = await world.start('removals', {
      configuration: {
        MaximumStorageCacheSize: 0,
        ...world.configure({ DeleteInBackground: true, ...changes }),
      },
    });
    return running;
  }

  async function removals(orthanc: Orthanc): Promise<Status['removals']> {
    return ((await orthanc.json('/object-storage/status')) as Status).removals;
  }

  const journals = async () =>
    (await readdir(join(world.folder, 'removals', 'storage', REMOVALS_FOLDER))).filter((name) =>
      name.endsWith('.journal'),
    );

  /** Of one study. */
  const makeStudy = () => makeFiles(INSTANCES * 4, '1.2.3').filter((_, index) => index % 4 === 0);

  if (measured !== undefined) {
    test("the same in Orthanc's own folder", async () => {
      const orthanc = await world.startPlain('plain');
      await store(orthanc, makeStudy());
      const { deletedMs, blockedMs } = await deleteStudy(orthanc);
      console.info(
        `Orthanc's own folder: ${INSTANCES} instances deleted in ${deletedMs} ms, /statistics within ${blockedMs} ms`,
      );
      await orthanc.stop();
    });
  }

  test('a study is deleted without waiting for the bucket, and its objects go in few requests', async () => {
    const orthanc = await start();
    await store(orthanc, makeStudy());
    expect(await world.objects()).toHaveLength(INSTANCES);
    world.proxy.forget();
    world.proxy.setFault(() => ({ kind: 'delay', ms: LATENCY_MS }));

    const { deletedMs, blockedMs } = await deleteStudy(orthanc);
    const startedMs = performance.now();
    await eventually(async () => expect(await world.objects()).toHaveLength(0));
    const goneMs = performance.now() - startedMs;
    const requests = world.proxy.requests().filter(isRemoval).length;
    console.info(
      `${provider}: ${INSTANCES} instances at ${LATENCY_MS} ms: deleted in ${deletedMs} ms, /statistics within ${blockedMs} ms, all objects gone ${Math.round(goneMs)} ms later, ${requests} requests`,
    );
    if (measured === undefined) expect(deletedMs).toBeLessThan((INSTANCES * LATENCY_MS) / 2);
    if (provider === 'google') expect(requests).toBe(INSTANCES);
    else expect(requests).toBeLessThan(INSTANCES / 5);
    expect(await removals(orthanc)).toMatchObject({ pending: 0, carriedOut: INSTANCES });
    expect((await orthanc.get('/tools/metrics-prometheus')).toString()).toMatch(
      /^orthanc_object_storage_removals_pending_count 0 /m,
    );
    expect(await orthanc.stop()).toBe(0);
    expect(await journals()).toEqual([]);
  });

  test('what was deleted before a kill -9 goes after the next start, and stays away', async () => {
    let orthanc = await start();
    const files = makeFiles(12, '1.2.4');
    const { uploads } = await store(orthanc, files);
    world.proxy.setFault((request) => (isRemoval(request) ? { kind: 'hang' } : undefined));
    const [kept, ...others] = uploads;
    await inParallel(others, 4, async ({ ID }) => {
      expect((await orthanc.request('DELETE', `/instances/${ID}`)).status).toBe(200);
    });
    expect(await removals(orthanc)).toMatchObject({ pending: others.length });
    await orthanc.kill();
    expect(await world.objects()).toHaveLength(uploads.length);

    world.proxy.setFault(undefined);
    orthanc = await start();
    expect(await orthanc.json('/instances')).toEqual([kept?.ID]);
    // The same files come back as new objects.
    const again = await store(orthanc, files.slice(0, 6));
    await eventually(async () => expect((await removals(orthanc))?.pending).toBe(0));
    expect(await world.objects()).toHaveLength(again.uploads.length);
    for (const { ID } of again.uploads) await orthanc.get(`/instances/${ID}/file`);
    await inParallel(again.uploads, 4, ({ ID }) => orthanc.request('DELETE', `/instances/${ID}`));
    expect(await orthanc.stop()).toBe(0);
    expect(await world.objects()).toEqual([]);
  });

  if (provider === 's3') {
    test('a reset goes on with what is noted', async () => {
      const orthanc = await start();
      const { uploads } = await store(orthanc, makeFiles(2, '1.2.6'));
      // The check at start removes a probe of its own.
      world.proxy.setFault((request) =>
        isRemoval(request) && request.key.endsWith('.dcm') ? { kind: 'hang' } : undefined,
      );
      await orthanc.request('DELETE', `/instances/${uploads[0]?.ID}`);
      await orthanc.request('POST', '/tools/reset');
      await orthanc.hasStarted(2);
      expect(await removals(orthanc)).toMatchObject({ pending: 1 });
      world.proxy.setFault(undefined);
      await eventually(async () => expect(await world.objects()).toHaveLength(1));
      await orthanc.request('DELETE', `/instances/${uploads[1]?.ID}`);
      await eventually(async () => expect(await world.objects()).toEqual([]));
    });
  }

  test('switched off with the store away, the next start still carries it out', async () => {
    let orthanc = await start({ MaxRetries: 0 });
    const { uploads } = await store(orthanc, makeFiles(2, '1.2.5'));
    world.proxy.setFault((request) =>
      isRemoval(request) ? { kind: 'answer', status: 503 } : undefined,
    );
    await orthanc.request('DELETE', `/instances/${uploads[0]?.ID}`);
    expect(await orthanc.stop()).toBe(0);
    expect(await journals()).toHaveLength(1);

    world.proxy.setFault(undefined);
    orthanc = await start({ DeleteInBackground: false });
    expect(orthanc.log()).toMatch(/1 removals .* although DeleteInBackground is off/);
    await eventually(async () => expect(await world.objects()).toHaveLength(1));
    await orthanc.request('DELETE', `/instances/${uploads[1]?.ID}`);
    expect(await world.objects()).toEqual([]);
    expect(await orthanc.stop()).toBe(0);
    orthanc = await start({ DeleteInBackground: false });
    expect(await removals(orthanc)).toBeNull();
    await orthanc.stop();
  });
});

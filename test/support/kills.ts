// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc is killed at random moments while clients post, read and delete, with a LocalCache that uploads behind.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { md5 } from './archive.ts';
import { buildCli } from './cli.ts';
import { makeDicom } from './dicom.ts';
import { createRandom } from './interruptions.ts';
import type { Configuration, Orthanc } from './orthanc.ts';
import { inParallel } from './parallel.ts';
import type { World } from './world.ts';

export interface KillPlan {
  readonly kills: number;
  readonly seed: number;
  readonly clients: number;
  /** Such as StorageEncryption. */
  readonly section?: Configuration;
  /** The least and the most that the store takes for a request. */
  readonly delaysMs: readonly [number, number];
  readonly onRound?: () => void;
}

export interface KillFigures {
  readonly kills: number;
  /** What Orthanc has acknowledged. */
  readonly posted: number;
  readonly deleted: number;
  readonly read: number;
  /** Pending when Orthanc was killed, over all kills. */
  readonly pendingAtKills: number;
  /** Acknowledged instances that are gone, removed ones that are back, wrong bytes, and what `verify --deep` found. */
  readonly lost: number;
  readonly revived: number;
  readonly wrong: number;
  readonly verified: Readonly<Record<string, unknown>>;
}

const [EARLIEST_MS, LATEST_MS] = [300, 1_500];
const DRAIN_LIMIT_MS = 120_000;
const CHECKED_AT_ONCE = 8;

export async function killOften(world: World, name: string, plan: KillPlan): Promise<KillFigures> {
  const random = createRandom(plan.seed);
  const between = (least: number, most: number) => least + random() * (most - least);
  const section = {
    ...world.section,
    RootPath: name,
    MaxRetries: 1,
    LocalCache: { Directory: join(world.folder, `${name}-cache`), MaxSize: 2, WriteBack: true },
    ...plan.section,
  };
  const start = () =>
    world.start(name, {
      configuration: {
        [world.sectionName]: section,
        MaximumStorageCacheSize: 0,
        OverwriteInstances: true,
      },
    });
  /** By id; undefined: it was removed. */
  const known = new Map<string, string | undefined>();
  const doubtful = new Set<string>();
  const counts = {
    posted: 0,
    deleted: 0,
    read: 0,
    lost: 0,
    revived: 0,
    wrong: 0,
    pendingAtKills: 0,
  };
  let made = 0;

  async function post(orthanc: Orthanc): Promise<void> {
    made += 1;
    const pixelBytes = Math.floor(between(100, 200_000));
    const file = makeDicom({ sopInstanceUid: `1.2.18.${plan.seed}.${made}`, pixelBytes });
    const { status, body } = await orthanc.request('POST', '/instances', file);
    if (status !== 200) return;
    known.set((JSON.parse(body.toString()) as { readonly ID: string }).ID, md5(file));
    counts.posted += 1;
  }

  async function remove(orthanc: Orthanc): Promise<void> {
    const ids = [...known].filter(([id, digest]) => digest !== undefined && !doubtful.has(id));
    const [id] = ids[Math.floor(random() * ids.length)] ?? [];
    if (id === undefined) return;
    // Until it is answered, nobody can tell.
    doubtful.add(id);
    const { status } = await orthanc.request('DELETE', `/instances/${id}`);
    if (status !== 200) return;
    known.set(id, undefined);
    doubtful.delete(id);
    counts.deleted += 1;
  }

  async function read(orthanc: Orthanc): Promise<void> {
    const ids = [...known.keys()];
    const id = ids[Math.floor(random() * ids.length)];
    if (id === undefined || doubtful.has(id)) return;
    const digest = known.get(id);
    const { status, body } = await orthanc.request('GET', `/instances/${id}/file`);
    if (doubtful.has(id) || known.get(id) !== digest) return;
    judge(digest, status, body);
    counts.read += 1;
  }

  function judge(digest: string | undefined, status: number, body: Buffer): void {
    if (digest === undefined) counts.revived += status === 404 ? 0 : 1;
    else if (status !== 200) counts.lost += 1;
    else if (md5(body) !== digest) counts.wrong += 1;
  }

  async function checkAll(orthanc: Orthanc): Promise<void> {
    for (const id of Array.from(doubtful)) {
      const { status } = await orthanc.request('GET', `/instances/${id}`);
      if (status === 404) known.set(id, undefined);
      doubtful.delete(id);
    }
    await inParallel([...known], CHECKED_AT_ONCE, async ([id, digest]) => {
      const { status, body } = await orthanc.request('GET', `/instances/${id}/file`);
      judge(digest, status, body);
    });
  }

  world.proxy.setFault(() => ({ kind: 'delay', ms: between(...plan.delaysMs) }));
  let orthanc = await start();
  for (let kill = 0; kill < plan.kills; kill++) {
    let ended = false;
    const work = async () => {
      while (!ended) {
        const kind = random();
        const request = kind < 0.5 ? post : kind < 0.8 ? read : remove;
        await request(orthanc).catch(() => undefined);
      }
    };
    const clients = Array.from({ length: plan.clients }, work);
    await sleep(between(EARLIEST_MS, LATEST_MS));
    counts.pendingAtKills += (await pendingOf(orthanc)).pending;
    await orthanc.kill();
    ended = true;
    await Promise.all(clients);
    orthanc = await start();
    if (kill % 10 === 9) await checkAll(orthanc);
    plan.onRound?.();
  }
  await checkAll(orthanc);
  world.proxy.setFault(undefined);
  await drained(orthanc);
  await checkAll(orthanc);
  const cli = await buildCli(world.folder);
  const argv = ['verify', '--config', orthanc.configurationFile, '--orthanc', orthanc.url];
  const { result } = cli.start([...argv, '--deep', '--json']);
  const { stdout, stderr } = await result;
  const last = stdout.toString().trim().split('\n').at(-1);
  if (last === undefined || last === '') throw new Error(stderr);
  await orthanc.stop();
  return { kills: plan.kills, ...counts, verified: JSON.parse(last) as KillFigures['verified'] };
}

interface CacheFigures {
  readonly localCache: { readonly pending: { readonly count: number }; readonly removals: number };
}

async function pendingOf(orthanc: Orthanc) {
  const { localCache } = (await orthanc.json('/object-storage/status')) as CacheFigures;
  return { pending: localCache.pending.count, removals: localCache.removals };
}

/** Waits until nothing is pending. */
export async function drained(orthanc: Orthanc): Promise<void> {
  const endMs = performance.now() + DRAIN_LIMIT_MS;
  for (;;) {
    const { pending, removals } = await pendingOf(orthanc);
    if (pending + removals === 0) return;
    if (performance.now() > endMs) throw new Error(`${pending} pending, ${removals} removals`);
    await sleep(100);
  }
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc is stopped and reset in the middle of moves, with clients at work: it must not die of that, and nothing may be lost.

import { setTimeout as sleep } from 'node:timers/promises';

import { createArchive, expectAll, makeFiles, md5, patientsOf, store } from './archive.ts';
import { makeDicom } from './dicom.ts';
import type { Orthanc } from './orthanc.ts';
import type { World } from './world.ts';

export type Interruption = 'reset' | 'SIGTERM';

export interface InterruptionPlan {
  /** One after another, each in the middle of a move of its own. */
  readonly interruptions: readonly Interruption[];
  readonly instances: number;
  /** The least and the most that the store takes for a request. */
  readonly delaysMs: readonly [number, number];
  /** Clients that post, read and delete meanwhile. */
  readonly clients: number;
  /** All that is left to chance goes by it, but for the clock. */
  readonly seed: number;
  /** Of the environment of Orthanc. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly onRound?: () => void;
  readonly onProblem?: (what: string) => void;
}

export interface InterruptionFigures {
  /** Of moves that were still under way when Orthanc went on. */
  readonly resumed: number;
  /** Files that were left when everything had been deleted: of uploads that Orthanc gave up. */
  readonly orphans: number;
  /** Requests of the clients that were answered. */
  readonly requests: number;
  /** From each SIGTERM until Orthanc had ended. */
  readonly stopMs: readonly number[];
  /** What must not be, one line each. */
  readonly problems: readonly string[];
}

/** Of a process that dies: the C++ runtime's, boost's, the sanitizers'. */
const FATAL = /terminate called|lock_error|Segmentation fault|Sanitizer|INTERNAL ERROR/;
const [EARLIEST_MS, LATEST_MS] = [200, 1_400];
/** Not what the plugin tries the store with at its start. */
const ATTACHMENT = /\/[0-9a-f]{8}-[0-9a-f-]{27}(\.|$)/;
const TARGETS = ['object-storage', 'file-system'] as const;
const RESUME_LIMIT_MS = 300_000;
const CLIENT_LIMIT_MS = 5_000;

/** @returns what happened; the world's proxy is slow meanwhile */
export async function interruptMoves(
  world: World,
  name: string,
  plan: InterruptionPlan,
): Promise<InterruptionFigures> {
  const random = createRandom(plan.seed);
  const between = (least: number, most: number) => least + random() * (most - least);
  const archive = createArchive(world, name);
  const section = { HybridMode: 'WriteToFileSystem', RootPath: name };
  // The address sanitizer's malloc refuses Orthanc's number of arenas.
  const start = () => archive.start(section, { MallocArenaMax: 0 }, plan.environment);
  const problems: string[] = [];
  const stopMs: number[] = [];
  let resumed = 0;

  let orthanc = await start();
  const clients = createClients(plan.clients, random, problems);
  const stored = await store(orthanc, makeFiles(plan.instances, `1.2.15.${plan.seed}`));
  const patients = await patientsOf(orthanc);
  const uuids = new Set(await archive.files());
  let starts = 1;

  for (const [round, interruption] of plan.interruptions.entries()) {
    const target = TARGETS[round % TARGETS.length] ?? TARGETS[0];
    const about = `seed ${plan.seed}, round ${round} (${interruption}, to the ${target})`;
    const problem = (what: string) => {
      problems.push(`${about}: ${what}`);
      plan.onProblem?.(`${about}: ${what}`);
    };
    world.proxy.setFault(({ key }) =>
      ATTACHMENT.test(key) ? { kind: 'delay', ms: between(...plan.delaysMs) } : undefined,
    );
    const endClients = clients.begin(orthanc);
    const submitted = await orthanc.request(
      'POST',
      '/move-storage',
      JSON.stringify({ Resources: patients, TargetStorage: target, Asynchronous: true }),
    );
    const { ID: job } = JSON.parse(submitted.body.toString()) as { readonly ID: string };
    await sleep(between(EARLIEST_MS, LATEST_MS));

    const beganMs = performance.now();
    let status: number | undefined;
    if (interruption === 'reset') {
      await orthanc.request('POST', '/tools/reset', '');
      starts += 1;
      await orthanc.hasStarted(starts).catch(() => undefined);
      if (!orthanc.isRunning()) status = await orthanc.exited();
    } else {
      status = await orthanc.stop();
      stopMs.push(performance.now() - beganMs);
    }
    await endClients();
    const log = orthanc.log();
    const fatal = FATAL.exec(log);
    if (fatal !== null) problem(`the log says: ${lineAt(log, fatal.index)}`);
    if (interruption === 'reset' ? status !== undefined : status !== 0) {
      problem(`Orthanc ended with ${status}`);
    }
    world.proxy.setFault(undefined);
    if (status !== undefined) {
      orthanc = await start();
      starts = 1;
    }

    try {
      if (await untilOver(orthanc, job, problem)) resumed += 1;
      const toBucket = target === 'object-storage';
      const left = toBucket ? await archive.files() : await archive.objects(name);
      const behind = left.filter((uuid) => uuids.has(uuid)).length;
      if (behind > 0) problem(`${behind} files were not moved`);
      await expectAll(orthanc, stored);
      await clients.check(orthanc, problem);
    } catch (error) {
      problem(String(error).slice(0, 500));
      if (!orthanc.isRunning()) orthanc = await start();
    }
    plan.onRound?.();
  }
  for (const id of await patientsOf(orthanc)) await orthanc.request('DELETE', `/patients/${id}`);
  const status = await orthanc.stop();
  if (status !== 0) problems.push(`at its end Orthanc ended with ${status}`);
  const left = await world.objects(name);
  const orphans = left.length + (await archive.files()).length;
  for (const key of left) await world.store.remove(key);
  return { resumed, orphans, requests: clients.requests(), stopMs, problems };
}

/** Once more where a connection was one of the Orthanc before. */
async function ask(orthanc: Orthanc, path: string) {
  return await orthanc
    .request('GET', path)
    .catch(() => orthanc.request('GET', path))
    .catch(async (error: unknown) => {
      throw orthanc.isRunning() ? error : new Error(`Orthanc died: ${await orthanc.exited()}`);
    });
}

/** @returns whether the job had still something to do */
async function untilOver(
  orthanc: Orthanc,
  id: string,
  problem: (what: string) => void,
): Promise<boolean> {
  const endMs = performance.now() + RESUME_LIMIT_MS;
  for (let asked = 0; performance.now() < endMs; asked += 1) {
    const { status, body } = await ask(orthanc, `/jobs/${id}`);
    if (status !== 200) {
      problem(`the job is lost: ${status} ${body.toString().slice(0, 200)}`);
      return false;
    }
    const job = JSON.parse(body.toString()) as {
      readonly State: string;
      readonly Content: { readonly Failed: number };
    };
    if (job.State === 'Success' && job.Content.Failed === 0) return asked > 0;
    if (job.State === 'Failure' || job.State === 'Success') {
      problem(`the job ended as ${job.State}: ${JSON.stringify(job.Content).slice(0, 1000)}`);
      return false;
    }
    await sleep(50);
  }
  problem('the job does not end');
  return false;
}

/** What clients do while Orthanc is interrupted; they forget what they were not answered about. */
function createClients(count: number, random: () => number, problems: string[]) {
  /** What was acknowledged and not asked to be deleted, by id. */
  const owned = new Map<string, string>();
  let requests = 0;
  let posted = 0;

  async function post(orthanc: Orthanc): Promise<void> {
    posted += 1;
    const file = makeDicom({
      // Among those that are being moved, too.
      patientId: `P${posted % 8}`,
      sopInstanceUid: `1.2.16.${posted}.${Math.floor(random() * 1e9)}`,
      pixelBytes: 2000,
    });
    const { status, body } = await orthanc.request('POST', '/instances', file);
    if (status !== 200) return;
    owned.set((JSON.parse(body.toString()) as { readonly ID: string }).ID, md5(file));
  }

  async function read(orthanc: Orthanc): Promise<void> {
    const ids = [...owned];
    const [id, digest] = ids[Math.floor(random() * ids.length)] ?? [];
    if (id === undefined) return;
    const { status, body } = await orthanc.request('GET', `/instances/${id}/file`);
    if (status === 200 && md5(body) !== digest) problems.push(`instance ${id} is another one`);
    if (status === 404 && owned.has(id)) problems.push(`instance ${id} is gone`);
  }

  async function remove(orthanc: Orthanc): Promise<void> {
    const [id] = owned.keys();
    if (id === undefined) return;
    owned.delete(id);
    await orthanc.request('DELETE', `/instances/${id}`);
  }

  return {
    requests: () => requests,
    /** @returns what ends them */
    begin(orthanc: Orthanc): () => Promise<void> {
      let ended = false;
      const work = async () => {
        while (!ended) {
          const kind = random();
          const request = kind < 0.4 ? post : kind < 0.75 ? read : remove;
          // Orthanc forgets some connections when it stops, and answers them never.
          const answered = await Promise.race([
            request(orthanc).then(
              () => true,
              () => false,
            ),
            sleep(CLIENT_LIMIT_MS, false),
          ]);
          if (answered) requests += 1;
          else await sleep(50);
        }
      };
      const working = Array.from({ length: count }, work);
      return async () => {
        ended = true;
        await Promise.all(working);
      };
    },
    async check(orthanc: Orthanc, problem: (what: string) => void): Promise<void> {
      for (const [id, digest] of owned) {
        const { status, body } = await ask(orthanc, `/instances/${id}/file`);
        if (status !== 200 || md5(body) !== digest) problem(`a client's ${id}: ${status}`);
      }
    },
  };
}

function lineAt(text: string, index: number): string {
  return text.slice(text.lastIndexOf('\n', index) + 1, text.indexOf('\n', index));
}

/** Mulberry32: the same numbers for the same seed. */
export function createRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b_79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

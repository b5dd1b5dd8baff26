// SPDX-License-Identifier: GPL-3.0-or-later
// Moves through whatever happens meanwhile: stores that fail, a disk that goes away, Orthanc that is stopped or killed.

import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import {
  type Archive,
  createArchive,
  expectAll,
  type MoveContent,
  makeFiles,
  md5,
  move,
  patientsOf,
  store,
} from '../support/archive.ts';
import { interruptMoves } from '../support/interruptions.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { createWorld, type World } from '../support/world.ts';

const MB = 1024 * 1024;

let world: World;
let archive: Archive;
let orthanc: Orthanc;

const start = () => archive.start({ HybridMode: 'WriteToFileSystem' });

beforeAll(async () => {
  world = await createWorld();
  archive = createArchive(world, 'moves');
  orthanc = await start();
});

afterAll(() => world.close());

afterEach(() => {
  world.proxy.setFault(undefined);
});

async function submit(orthanc: Orthanc, target: string, resources: readonly string[]) {
  const answer = await orthanc.request(
    'POST',
    '/move-storage',
    JSON.stringify({ Resources: resources, TargetStorage: target, Asynchronous: true }),
  );
  expect(answer.status, answer.body.toString()).toBe(200);
  return (JSON.parse(answer.body.toString()) as { readonly ID: string }).ID;
}

interface Job {
  readonly State: string;
  readonly Progress: number;
  readonly Content: MoveContent;
}

async function untilState(orthanc: Orthanc, id: string, states: readonly string[]): Promise<Job> {
  for (;;) {
    const job = (await orthanc.json(`/jobs/${id}`)) as Job;
    if (states.includes(job.State)) return job;
    await sleep(50);
  }
}

test('a store that fails at every third request', async () => {
  const stored = await store(orthanc, makeFiles(100, '1.2.11.3'));
  let count = 0;
  world.proxy.setFault(() => {
    count += 1;
    return count % 3 === 0 ? { kind: 'answer', status: 500 } : undefined;
  });
  const { content } = await move(orthanc, 'object-storage', await patientsOf(orthanc));
  expect(content).toMatchObject({ Moved: 100, Failed: 0 });
  world.proxy.setFault(undefined);
  expect(await archive.files()).toEqual([]);
  await expectAll(orthanc, stored);
  await archive.clear(orthanc);
});

test('a store that refuses all: the job fails, lists each file with its reason, and nothing is lost', async () => {
  const stored = await store(orthanc, makeFiles(12, '1.2.11.4'));
  world.proxy.setFault(() => ({ kind: 'answer', status: 403 }));
  const [patient = ''] = await patientsOf(orthanc);
  const { status, content } = await move(orthanc, 'object-storage', [patient]);
  expect(status).toBe(500);
  expect(content).toMatchObject({ Moved: 0, Failed: 3 });
  expect(content.Failures).toHaveLength(3);
  expect(content.Failures[0]).toMatchObject({
    Level: 'instances',
    Attachment: 'dicom',
    Reason: expect.stringMatching(/^ACCESS_DENIED: /) as string,
  });
  world.proxy.setFault(undefined);
  expect(await archive.files()).toHaveLength(12);
  await expectAll(orthanc, stored);
  await archive.clear(orthanc);
});

test('paused, resumed, cancelled, resubmitted', async () => {
  const stored = await store(orthanc, makeFiles(120, '1.2.11.5'));
  const patients = await patientsOf(orthanc);
  world.proxy.setFault(() => ({ kind: 'delay', ms: 60 }));
  const id = await submit(orthanc, 'object-storage', patients);
  await untilState(orthanc, id, ['Running']);
  while ((await world.objects()).length < 10) await sleep(20);
  await orthanc.request('POST', `/jobs/${id}/pause`, '');
  const paused = await untilState(orthanc, id, ['Paused']);
  expect(paused.Progress).toBeGreaterThan(0);
  expect(paused.Progress).toBeLessThan(100);
  const moved = (await world.objects()).length;
  await sleep(500);
  expect(await world.objects()).toHaveLength(moved);
  await orthanc.request('POST', `/jobs/${id}/resume`, '');
  await untilState(orthanc, id, ['Running']);
  await orthanc.request('POST', `/jobs/${id}/cancel`, '');
  const cancelled = await untilState(orthanc, id, ['Failure']);
  expect(cancelled.Progress).toBeLessThan(100);
  await expectAll(orthanc, stored);
  world.proxy.setFault(undefined);
  await orthanc.request('POST', `/jobs/${id}/resubmit`, '');
  const done = await untilState(orthanc, id, ['Success', 'Failure']);
  expect(done).toMatchObject({ State: 'Success', Progress: 100, Content: { Failed: 0 } });
  expect(await archive.files()).toEqual([]);
  await expectAll(orthanc, stored);
  await archive.clear(orthanc);
});

test('a restart of Orthanc in the middle', async () => {
  const stored = await store(orthanc, makeFiles(120, '1.2.11.6'));
  world.proxy.setFault(() => ({ kind: 'delay', ms: 400 }));
  const id = await submit(orthanc, 'object-storage', await patientsOf(orthanc));
  while ((await world.objects()).length < 20) await sleep(20);
  expect(await orthanc.stop()).toBe(0);
  expect((await archive.files()).length).toBeGreaterThan(0);
  world.proxy.setFault(undefined);
  orthanc = await start();
  const done = await untilState(orthanc, id, ['Success', 'Failure']);
  expect(done).toMatchObject({ State: 'Success', Content: { Failed: 0 } });
  expect(done.Content.Moved + done.Content.AlreadyThere).toBe(120);
  expect(await archive.files()).toEqual([]);
  expect(await world.objects()).toHaveLength(120);
  await expectAll(orthanc, stored);
  await archive.clear(orthanc);
});

test('resets and SIGTERMs in the middle, with clients at work: Orthanc does not die of it, nothing is lost', async () => {
  const seed = Date.now() % 1_000_000;
  const { problems, resumed } = await interruptMoves(world, 'interrupted', {
    interruptions: ['reset', 'SIGTERM', 'reset'],
    instances: 40,
    delaysMs: [50, 200],
    clients: 2,
    seed,
  });
  expect(problems, `seed ${seed}`).toEqual([]);
  expect(resumed).toBeGreaterThan(0);
});

test('kill -9 in the middle: nothing lost, nothing twice, nothing orphaned', async () => {
  const stored = await store(orthanc, makeFiles(120, '1.2.11.7'));
  const before = await archive.files();
  world.proxy.setFault(() => ({ kind: 'delay', ms: 40 }));
  await submit(orthanc, 'object-storage', await patientsOf(orthanc));
  while ((await world.objects()).length < 30) await sleep(10);
  await orthanc.kill();
  const halfway = new Set([...(await archive.files()), ...(await archive.objects())]);
  expect([...halfway].sort()).toEqual(before);
  world.proxy.setFault(undefined);
  orthanc = await start();
  await expectAll(orthanc, stored);
  const { content } = await move(orthanc, 'object-storage', await patientsOf(orthanc));
  expect(content).toMatchObject({ Failed: 0 });
  expect(await archive.files()).toEqual([]);
  expect(await archive.objects()).toEqual(before);
  await expectAll(orthanc, stored);
  await archive.clear(orthanc);
});

test('a disk that goes away and comes back: no 404, no move, nothing lost', async () => {
  const stored = await store(orthanc, makeFiles(12, '1.2.11.8'));
  const [moved, kept] = stored.uploads;
  await move(orthanc, 'object-storage', [moved?.ID ?? '']);
  const before = await archive.files();
  await rename(archive.folder, `${archive.folder}.away`);
  for (const upload of [moved, kept]) {
    const { status } = await orthanc.request('GET', `/instances/${upload?.ID}/file`);
    expect(status).toBe(500);
  }
  expect(orthanc.log()).toMatch(
    /op=read(-range)? uuid=\S+ provider=file-system .*is its disk mounted/,
  );
  const moves = await Promise.all([
    move(orthanc, 'object-storage', [kept?.ID ?? '']),
    move(orthanc, 'file-system', [moved?.ID ?? '']),
  ]);
  for (const { status, content } of moves) {
    expect([status, content.Moved]).toEqual([500, 0]);
    expect(JSON.stringify(content.Failures)).toContain('is its disk mounted');
  }
  expect(await world.objects()).toHaveLength(1);
  await rename(`${archive.folder}.away`, archive.folder);
  expect(await archive.files()).toEqual(before);
  await expectAll(orthanc, stored);
  await archive.clear(orthanc);
});

test('100 MB there and back take little memory', async () => {
  const { uploads } = await store(orthanc, makeFiles(1, '1.2.11.9'));
  const content = randomBytes(100 * MB);
  const path = `/instances/${uploads[0]?.ID}/attachments/1040`;
  expect((await orthanc.request('PUT', path, content)).status).toBe(200);
  // The memory that Orthanc took for the upload.
  await orthanc.stop();
  orthanc = await start();
  for (const target of ['object-storage', 'file-system']) {
    // @see proc_pid_clear_refs(5): 5 resets the peak.
    await writeFile(`/proc/${orthanc.pid}/clear_refs`, '5');
    const before = await memoryBytes(orthanc, 'VmRSS');
    expect((await move(orthanc, target, await patientsOf(orthanc))).content).toMatchObject({
      Moved: 2,
      Failed: 0,
    });
    expect((await memoryBytes(orthanc, 'VmHWM')) - before).toBeLessThan(80 * MB);
  }
  expect(md5(await orthanc.get(`${path}/data`))).toBe(md5(content));
  await archive.clear(orthanc);
});

async function memoryBytes({ pid }: Orthanc, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
}

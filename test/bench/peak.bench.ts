// SPDX-License-Identifier: GPL-3.0-or-later

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { makeMultiFrameDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { createWorld, type Provider, type World } from '../support/world.ts';
import { medianOf } from './measure.ts';
import { readMemoryMb } from './orthanc/processes.ts';

/** Until what the start has left behind is given back. */
const SETTLE_MS = 3000;
const KINDS = ['plain', 'plugin'] as const;
type Kind = (typeof KINDS)[number];

interface Peak {
  /** Resident memory before the request, and the most of it while it ran. */
  readonly beforeMb: number;
  readonly peakMb: number;
  readonly ms: number;
}

interface Plan {
  /** The two kinds take turns. */
  readonly rounds: number;
  readonly provider: Provider;
  /** Of the instance. */
  readonly megabytes: number;
}

export async function main(plan: Plan): Promise<void> {
  const world = await createWorld({ provider: plan.provider });
  if (world.box.kind !== 'chroot') throw new Error('a container hides the process to be measured');
  try {
    await printPeaks(world, plan);
  } finally {
    await world.close();
  }
}

async function printPeaks(world: World, { rounds, megabytes }: Plan): Promise<void> {
  const file = makeMultiFrameDicom('1.2.3.1', megabytes);
  const peaks: Record<Kind, { in: Peak; out: Peak }[]> = { plain: [], plugin: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const kind of KINDS) peaks[kind].push(await measurePeaks(world, kind, file));
  }
  console.log(`${show(file.length / 1e6)} MB, medians of ${rounds}:`);
  for (const direction of ['in', 'out'] as const) {
    const growth = (kind: Kind) =>
      medianOf(peaks[kind].map((peak) => peak[direction].peakMb - peak[direction].beforeMb));
    const time = (kind: Kind) => medianOf(peaks[kind].map((all) => all[direction].ms));
    console.log(
      `  ${direction}: growth to the peak: plain ${show(growth('plain'))} MB, plugin ${show(growth('plugin'))} MB, ` +
        `added ${show(growth('plugin') - growth('plain'))} MB; ${show(time('plain'))} and ${show(time('plugin'))} ms`,
    );
  }
}

const startKind = (world: World, kind: Kind) =>
  kind === 'plain' ? world.startPlain(kind) : world.start(kind);

async function measurePeaks(world: World, kind: Kind, file: Buffer) {
  await rm(join(world.folder, kind), { recursive: true, force: true });
  const orthanc = await startKind(world, kind);
  // What is made at the first use of anything is not the point.
  const { ID: small } = await orthanc.upload(makeMultiFrameDicom('1.2.3.2', 1));
  await orthanc.get(`/instances/${small}/file`);
  await sleep(SETTLE_MS);
  let id = '';
  const incoming = await measurePeak(orthanc, async () => {
    id = (await orthanc.upload(file)).ID;
  });
  await orthanc.stop();
  // Started anew, so that it is read from the store.
  const again = await startKind(world, kind);
  await again.get(`/instances/${small}/file`);
  await sleep(SETTLE_MS);
  const outgoing = await measurePeak(again, async () => {
    const body = await again.get(`/instances/${id}/file`);
    if (Buffer.compare(body, file) !== 0) throw new Error('not what was stored');
  });
  await again.request('DELETE', `/instances/${id}`);
  await again.kill();
  return { in: incoming, out: outgoing };
}

async function measurePeak({ pid }: Orthanc, work: () => Promise<void>): Promise<Peak> {
  // @see proc_pid_clear_refs(5): 5 resets the peak.
  await writeFile(`/proc/${pid}/clear_refs`, '5');
  const beforeMb = readMemoryMb(pid, 'VmRSS');
  const startedMs = performance.now();
  await work();
  const ms = performance.now() - startedMs;
  return { beforeMb, peakMb: readMemoryMb(pid, 'VmHWM'), ms };
}

const show = (value: number) => value.toFixed(value < 10 ? 1 : 0);

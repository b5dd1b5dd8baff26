// SPDX-License-Identifier: GPL-3.0-or-later

import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { makeMultiFrameDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { boxName, createWorld, type Provider, type World } from '../support/world.ts';
import { medianOf, readCpuMs } from './measure.ts';

/** Until what the start has left behind is given back. */
const SETTLE_MS = 3000;
const KINDS = ['plain', 'plugin'] as const;
type Kind = (typeof KINDS)[number];

interface Start {
  readonly ms: number;
  readonly cpuMs: number;
  readonly rssMb: number;
  readonly pssMb: number;
}

interface Peak {
  /** Resident memory before the request, and the most of it while it ran. */
  readonly beforeMb: number;
  readonly peakMb: number;
  readonly ms: number;
}

interface Plan {
  /** How often each kind starts; they take turns. */
  readonly rounds: number;
  readonly provider: Provider;
  readonly lanes: number;
  /** Of the large instance. */
  readonly megabytes: number;
}

export async function main(plan: Plan): Promise<void> {
  const { provider, lanes } = plan;
  const world = await createWorld({ provider });
  if (world.box.kind !== 'chroot') throw new Error('a container hides the process to be measured');
  try {
    console.log(
      `Box ${boxName}, ${provider}, lanes: ${lanes}. Plain is Orthanc without the plugin, its files on disk.\n`,
    );
    await printStarts(world, plan);
    await printPeaks(world, plan);
  } finally {
    await world.close();
  }
}

async function printStarts(world: World, plan: Plan): Promise<void> {
  const { rounds } = plan;
  const starts: Record<Kind, Start[]> = { plain: [], plugin: [] };
  for (let round = 0; round <= rounds; round += 1) {
    for (const kind of KINDS) {
      const start = await measureStart(world, kind, plan);
      if (round > 0) starts[kind].push(start); // the first one warms the file cache
    }
  }
  const table = (name: string, unit: string, value: (start: Start) => number) => {
    const [plain, plugin] = KINDS.map((kind) => starts[kind].map(value).sort((a, b) => a - b));
    const median = (values: readonly number[] = []) => values[values.length >> 1] ?? 0;
    const least = (values: readonly number[] = []) => values[0] ?? 0;
    const added = `${show(median(plugin) - median(plain))} (of the minima: ${show(least(plugin) - least(plain))})`;
    console.log(
      `${name}: plain ${show(median(plain))} ${unit}, plugin ${show(median(plugin))} ${unit}, added ${added} ${unit}`,
    );
  };
  console.log(`Start, medians of ${rounds}:`);
  table('  until /system answers', 'ms', ({ ms }) => ms);
  table('  processor time', 'ms', ({ cpuMs }) => cpuMs);
  table(`  VmRSS after ${SETTLE_MS / 1000} s`, 'MB', ({ rssMb }) => rssMb);
  table(`  PSS after ${SETTLE_MS / 1000} s`, 'MB', ({ pssMb }) => pssMb);
}

async function measureStart(world: World, kind: Kind, plan: Plan): Promise<Start> {
  await rm(join(world.folder, kind), { recursive: true, force: true });
  const startedMs = performance.now();
  const orthanc = await startKind(world, kind, plan);
  const ms = performance.now() - startedMs;
  const cpuMs = await readCpuMs(orthanc);
  await sleep(SETTLE_MS);
  const rssMb = await readStatusMb(orthanc, 'VmRSS');
  const pssMb = (await readKb(`/proc/${orthanc.pid}/smaps_rollup`, 'Pss')) / 1024;
  await orthanc.kill();
  return { ms, cpuMs, rssMb, pssMb };
}

const startKind = (world: World, kind: Kind, { lanes }: Plan) => {
  const pollMs = 5;
  return kind === 'plain'
    ? world.startPlain(kind, {}, { pollMs })
    : world.start(kind, { configuration: world.configure({ Lanes: lanes }), pollMs });
};

async function printPeaks(world: World, plan: Plan): Promise<void> {
  const file = makeMultiFrameDicom('1.2.3.1', plan.megabytes);
  const peaks: Record<Kind, { in: Peak; out: Peak }[]> = { plain: [], plugin: [] };
  for (let round = 0; round < 3; round += 1) {
    for (const kind of KINDS) peaks[kind].push(await measurePeaks(world, kind, plan, file));
  }
  console.log(`\n${show(file.length / 1e6)} MB, medians of 3:`);
  for (const direction of ['in', 'out'] as const) {
    const growth = (kind: Kind) =>
      medianOf(peaks[kind].map((peak) => peak[direction].peakMb - peak[direction].beforeMb));
    const peak = (kind: Kind) => medianOf(peaks[kind].map((all) => all[direction].peakMb));
    const time = (kind: Kind) => medianOf(peaks[kind].map((all) => all[direction].ms));
    console.log(
      `  ${direction}: growth to the peak: plain ${show(growth('plain'))} MB, plugin ${show(growth('plugin'))} MB, ` +
        `added ${show(growth('plugin') - growth('plain'))} MB; VmHWM ${show(peak('plain'))} and ${show(peak('plugin'))} MB; ` +
        `${show(time('plain'))} and ${show(time('plugin'))} ms`,
    );
  }
}

async function measurePeaks(world: World, kind: Kind, plan: Plan, file: Buffer) {
  await rm(join(world.folder, kind), { recursive: true, force: true });
  const orthanc = await startKind(world, kind, plan);
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
  const again = await startKind(world, kind, plan);
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

async function measurePeak(orthanc: Orthanc, work: () => Promise<void>): Promise<Peak> {
  // @see proc_pid_clear_refs(5): 5 resets the peak.
  await writeFile(`/proc/${orthanc.pid}/clear_refs`, '5');
  const beforeMb = await readStatusMb(orthanc, 'VmRSS');
  const startedMs = performance.now();
  await work();
  const ms = performance.now() - startedMs;
  return { beforeMb, peakMb: await readStatusMb(orthanc, 'VmHWM'), ms };
}

const readStatusMb = async ({ pid }: Orthanc, name: string) =>
  (await readKb(`/proc/${pid}/status`, name)) / 1024;

async function readKb(path: string, name: string): Promise<number> {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(await readFile(path, 'utf8'));
  if (match === null) throw new Error(`${path} has no ${name}`);
  return Number(match[1]);
}

const show = (value: number) => value.toFixed(value < 10 ? 1 : 0);

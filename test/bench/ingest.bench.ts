// SPDX-License-Identifier: GPL-3.0-or-later
// Orthancs beside each other, one for each way to store, all to one S3 server; clients post to one of them at a time, in turns.

import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { makeDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { inParallel } from '../support/parallel.ts';
import { createWorld, type World } from '../support/world.ts';
import { medianOf, readCpuMs } from './measure.ts';

interface Plan {
  readonly rounds: number;
  readonly instances: number;
  readonly clients: number;
  readonly pixelBytes: number;
}

/** Reference first: others are told as multiples of it. */
const MODES = ['plain', 'A1', 'A2', '2 lanes', 'files'] as const;
type Mode = (typeof MODES)[number];

interface Round {
  readonly perSecond: number;
  /** Of Orthanc and the plugin. */
  readonly cpuMs: number;
}

export async function main(plan: Plan): Promise<void> {
  const world = await createWorld();
  if (world.box.kind !== 'chroot') throw new Error('a container hides the process to be measured');
  try {
    const keyFile = join(world.folder, 'master.key');
    await writeFile(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 });
    const orthancs: [Mode, Orthanc][] = [];
    for (const mode of MODES) orthancs.push([mode, await startMode(world, mode, keyFile)]);

    const rounds: Record<Mode, Round[]> = {
      plain: [],
      A1: [],
      A2: [],
      '2 lanes': [],
      files: [],
    };
    for (let round = 0; round <= plan.rounds; round += 1) {
      // Each mode is as often behind each other one.
      const turn = round % MODES.length;
      for (const [mode, orthanc] of [...orthancs.slice(turn), ...orthancs.slice(0, turn)]) {
        const measured = await measure(orthanc, plan, round);
        if (round > 0) rounds[mode].push(measured); // the first one warms up
      }
    }
    print(plan, rounds);
  } finally {
    await world.close();
  }
}

function startMode(world: World, mode: Mode, keyFile: string): Promise<Orthanc> {
  if (mode === 'files') return world.startPlain(mode);
  const isEncrypted = mode === 'A1' || mode === 'A2';
  const encryption = isEncrypted ? { MasterKey: [1, keyFile], Format: mode } : {};
  return world.start(mode, {
    configuration: world.configure({
      RootPath: mode,
      Lanes: mode === '2 lanes' ? 2 : 1,
      StorageEncryption: encryption,
      Endpoint: `http://127.0.0.1:${world.serverPort}`,
    }),
  });
}

async function measure(orthanc: Orthanc, plan: Plan, round: number): Promise<Round> {
  const files = Array.from({ length: plan.instances }, (_, index) =>
    makeDicom({ sopInstanceUid: `1.2.3.${round}.${index}`, pixelBytes: plan.pixelBytes }),
  );
  const cpuBefore = await readCpuMs(orthanc);
  const startedMs = performance.now();
  await inParallel(files, plan.clients, async (file) => {
    await orthanc.upload(file);
  });
  const seconds = (performance.now() - startedMs) / 1000;
  const cpuMs = ((await readCpuMs(orthanc)) - cpuBefore) / plan.instances;
  return { perSecond: plan.instances / seconds, cpuMs };
}

function print(plan: Plan, rounds: Record<Mode, readonly Round[]>): void {
  console.log(
    `${plan.instances} instances of ${plan.pixelBytes / 1000} kB by ${plan.clients} clients, medians of ${plan.rounds} rounds (least to most):\n`,
  );
  const plainRounds = rounds.plain;
  for (const mode of MODES) {
    const rates = rounds[mode].map(({ perSecond }) => perSecond).toSorted((a, b) => a - b);
    // Of neighbours in time, so that what else the machine does cancels out.
    const shares = rounds[mode].map(
      ({ perSecond }, index) => perSecond / (plainRounds[index]?.perSecond ?? Number.NaN),
    );
    const cpu = medianOf(rounds[mode].map(({ cpuMs }) => cpuMs));
    console.log(
      `  ${mode.padEnd(7)} ${medianOf(rates).toFixed(0).padStart(4)} instances/s (${rates[0]?.toFixed(0)} to ${rates.at(-1)?.toFixed(0)}), ` +
        `${medianOf(shares).toFixed(2)} of plain; ${cpu.toFixed(1)} ms of processor each`,
    );
  }
}

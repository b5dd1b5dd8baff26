// SPDX-License-Identifier: GPL-3.0-or-later
// Orthancs side by side in one box, each interrupted again and again: most of the time they wait.

import {
  createRandom,
  type Interruption,
  type InterruptionFigures,
  interruptMoves,
} from '../support/interruptions.ts';
import { createWorld } from '../support/world.ts';

export interface SoakPlan {
  readonly resets: number;
  readonly sigterms: number;
  readonly atOnce: number;
  readonly instances: number;
  readonly delaysMs: readonly [number, number];
  readonly clients: number;
  readonly seed: number;
  /** The plugin is built with the address sanitizer, which Orthanc must be started with. */
  readonly asan: boolean;
}

// Orthanc itself leaks at its end, and Node's stacks are not the sanitizer's.
const ASAN = {
  LD_PRELOAD: 'libasan.so.8',
  ASAN_OPTIONS: 'detect_leaks=0:alloc_dealloc_mismatch=0:detect_stack_use_after_return=0',
};

/** @returns how many problems there were, after it has printed them */
export async function main(plan: SoakPlan): Promise<number> {
  const interruptions = shuffled(plan);
  let done = 0;
  const worlds = await Promise.all(Array.from({ length: plan.atOnce }, () => createWorld()));
  try {
    const all = await Promise.all(
      worlds.map((world, index) =>
        interruptMoves(world, 'soak', {
          interruptions: interruptions.filter((_, at) => at % plan.atOnce === index),
          instances: plan.instances,
          delaysMs: plan.delaysMs,
          clients: plan.clients,
          seed: plan.seed + index,
          environment: plan.asan ? ASAN : {},
          onRound: () => {
            done += 1;
            if (done % 20 === 0) console.log(`  ${done} of ${interruptions.length}`);
          },
          onProblem: (what) => {
            console.log(`  ${what}`);
          },
        }),
      ),
    );
    return print(plan, all);
  } finally {
    await Promise.all(worlds.map((world) => world.close()));
  }
}

function shuffled({ resets, sigterms, seed }: SoakPlan): readonly Interruption[] {
  const random = createRandom(seed);
  const kinds: readonly Interruption[] = [
    ...Array.from({ length: resets }, () => 'reset' as const),
    ...Array.from({ length: sigterms }, () => 'SIGTERM' as const),
  ];
  return kinds
    .map((kind) => ({ kind, at: random() }))
    .toSorted((one, other) => one.at - other.at)
    .map(({ kind }) => kind);
}

function print({ resets, sigterms }: SoakPlan, all: readonly InterruptionFigures[]): number {
  const sum = (of: (figures: InterruptionFigures) => number) =>
    all.reduce((total, figures) => total + of(figures), 0);
  const stopMs = all.flatMap((figures) => figures.stopMs).toSorted((one, other) => one - other);
  const at = (share: number) => Math.round(stopMs[Math.floor(share * (stopMs.length - 1))] ?? 0);
  const problems = sum((figures) => figures.problems.length);
  console.log(
    `${resets} resets and ${sigterms} SIGTERMs, ${sum(({ resumed }) => resumed)} moves resumed, ` +
      `${sum(({ requests }) => requests)} requests of clients, ${sum(({ orphans }) => orphans)} orphans; stopping took ${at(0.5)} ms in the middle, ` +
      `${at(1)} ms at most; ${problems} problems`,
  );
  return problems;
}

// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { killOften } from '../support/kills.ts';
import { createWorld } from '../support/world.ts';

export interface KillSoakPlan {
  readonly kills: number;
  readonly format: string;
  readonly delaysMs: readonly [number, number];
  readonly clients: number;
  readonly seed: number;
}

const NAME = 'kills';

/** @returns how many problems there were, after it has printed the figures */
export async function main({ format, ...plan }: KillSoakPlan): Promise<number> {
  const world = await createWorld();
  try {
    await mkdir(join(world.folder, `${NAME}-cache`), { mode: 0o700 });
    const key = join(world.folder, 'key');
    await writeFile(key, Buffer.alloc(32, 7).toString('base64'), { mode: 0o600 });
    let done = 0;
    const figures = await killOften(world, NAME, {
      ...plan,
      section:
        format === 'plain' ? {} : { StorageEncryption: { MasterKey: [1, key], Format: format } },
      onRound: () => {
        done += 1;
        if (done % 10 === 0) console.log(`  ${done} of ${plan.kills}`);
      },
    });
    console.log(JSON.stringify(figures, undefined, 2));
    const { lost, revived, wrong, verified } = figures;
    const found = ['missing', 'wrongSize', 'corrupt', 'unreadable'].map((name) =>
      Number(verified[name]),
    );
    return [lost, revived, wrong, ...found].reduce((sum, count) => sum + count, 0);
  } finally {
    await world.close();
  }
}

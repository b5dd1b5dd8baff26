// SPDX-License-Identifier: GPL-3.0-or-later

import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Pacer } from '../../../src/encryption/pacer.ts';

test('pieces follow each other until the slice is used up, then take turns of the loop in order', async () => {
  let nowMs = 0;
  const pacer = new Pacer(() => nowMs);
  const log: string[] = [];
  const work = async (name: string) => {
    const turn = pacer.turn();
    if (turn !== undefined) await turn;
    nowMs += 1;
    log.push(name);
  };
  const names = ['a', 'b', 'c', 'd', 'e'];
  const loop = async () => {
    while (log.filter((name) => name !== 'loop').length < names.length) {
      await setImmediate();
      log.push('loop');
    }
  };
  await Promise.all([...names.map(work), loop()]);
  expect(log.filter((name) => name !== 'loop')).toEqual(names);
  expect(log.slice(0, 2)).toEqual(['a', 'b']);
  const waited = log.slice(2).join(' ');
  expect(waited).toMatch(/c.*loop.*d.*loop.*e/);
});

test('a turn of the loop in which nobody asks starts afresh', async () => {
  let nowMs = 0;
  const pacer = new Pacer(() => nowMs);
  expect(pacer.turn()).toBeUndefined();
  nowMs += 100;
  await setImmediate();
  expect(pacer.turn()).toBeUndefined();
});

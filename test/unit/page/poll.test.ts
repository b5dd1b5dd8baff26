// SPDX-License-Identifier: GPL-3.0-or-later

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { poll } from '../../../src/page/poll.ts';

const EVERY_MS = 1000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A page that somebody sees, or not. */
function createSight() {
  let isVisible = true;
  let listener: () => void = () => undefined;
  return {
    page: {
      isVisible: () => isVisible,
      onChange: (wanted: () => void) => {
        listener = wanted;
      },
    },
    show(next: boolean) {
      isVisible = next;
      listener();
    },
  };
}

test('asks again and again, but not while nobody sees it', async () => {
  const work = vi.fn(() => Promise.resolve(EVERY_MS));
  const sight = createSight();
  poll(work, sight.page);
  await vi.advanceTimersByTimeAsync(2 * EVERY_MS + 1);
  expect(work).toHaveBeenCalledTimes(3);
  sight.show(false);
  await vi.advanceTimersByTimeAsync(10 * EVERY_MS);
  expect(work).toHaveBeenCalledTimes(3);
  sight.show(true);
  expect(work).toHaveBeenCalledTimes(4);
});

test('asked while an answer is under way, asks once more right after it', async () => {
  const answers: (() => void)[] = [];
  const work = vi.fn(() => new Promise<number>((resolve) => answers.push(() => resolve(EVERY_MS))));
  const askNow = poll(work, createSight().page);
  askNow();
  askNow();
  expect(work).toHaveBeenCalledTimes(1);
  answers[0]?.();
  await vi.advanceTimersByTimeAsync(1);
  expect(work).toHaveBeenCalledTimes(2);
  answers[1]?.();
  await vi.advanceTimersByTimeAsync(EVERY_MS / 2);
  expect(work).toHaveBeenCalledTimes(2);
});

test('goes on after a defect, which is not hidden', async () => {
  const seen: unknown[] = [];
  const listener = (error: unknown) => seen.push(error);
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', listener);
  try {
    const work = vi.fn<() => Promise<number>>().mockRejectedValueOnce(new Error('a defect'));
    work.mockResolvedValue(EVERY_MS);
    poll(work, createSight().page);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(work.mock.calls.length).toBeGreaterThan(1);
    vi.useRealTimers();
    await vi.waitFor(() => {
      expect(seen).toEqual([new Error('a defect')]);
    });
  } finally {
    process.off('unhandledRejection', listener);
    for (const other of others) process.on('unhandledRejection', other);
  }
});

// SPDX-License-Identifier: GPL-3.0-or-later
// Steps on one file, carried out one after the other. The shim has a twin of `runStepsByNode` (native/file_steps.cpp), which changes
// threads once for all of them. Node does so for each step, which costs 0.1 ms or more where a processor has gone to sleep.

import * as fs from 'node:fs';
import { promisify } from 'node:util';
import { syncFolder } from '../store/sync-folder.ts';

const FILE_MODE = 0o600;

const openFile = promisify(fs.open);
const closeFile = promisify(fs.close);
const readFile = promisify(fs.read);
const writeFile = promisify(fs.write);
const syncData = promisify(fs.fdatasync);
const renameFile = promisify(fs.rename);
const unlinkFile = promisify(fs.unlink);

/** `open` comes where no file is open yet. `read` and `write` are of all bytes, or fail, with the code EOF where the file ends before that.
 *  The memory must not be used meanwhile. */
export type FileStep =
  | readonly [name: 'open', path: string, flags: number]
  | readonly [name: 'read', target: Uint8Array, position: number]
  | readonly [name: 'write', bytes: Uint8Array, position: number]
  | readonly [name: 'syncData']
  | readonly [name: 'close']
  | readonly [name: 'rename', from: string, to: string]
  | readonly [name: 'unlink', path: string]
  /** The disk has all names of the folder, as they are now. */
  | readonly [name: 'syncFolder', path: string];

/** @param file the descriptor of the file that is open already
 *  @param timeoutMs a whole number; no step begins later, but for closing the file
 *  @returns the descriptor, if the file is still open
 *  @throws Error with a code and the name of the step that failed, ETIMEDOUT for one that did not begin. The file is closed then */
export type RunFileSteps = (
  file: number | undefined,
  steps: readonly FileStep[],
  timeoutMs: number,
) => Promise<number | undefined>;

export const runStepsByNode: RunFileSteps = async (file, steps, timeoutMs) => {
  const endMs = performance.now() + timeoutMs;
  let current = file;
  try {
    for (const step of steps) {
      try {
        const isLate = performance.now() >= endMs && step[0] !== 'close';
        if (isLate) throw failure('ETIMEDOUT');
        current = await carryOut(current, step);
      } catch (error) {
        throw error instanceof Error ? Object.assign(error, { step: step[0] }) : error;
      }
    }
    return current;
  } catch (error) {
    if (current !== undefined) await closeQuietly(current);
    throw error;
  }
};

/** @returns the descriptor, if the file is open afterwards */
async function carryOut(file: number | undefined, step: FileStep): Promise<number | undefined> {
  switch (step[0]) {
    case 'open':
      if (file !== undefined) throw failure('EBADF');
      return await openFile(step[1], step[2], FILE_MODE);
    case 'rename':
      await renameFile(step[1], step[2]);
      return file;
    case 'unlink':
      await unlinkFile(step[1]);
      return file;
    case 'syncFolder':
      await syncFolder(step[1]);
      return file;
    default:
  }
  if (file === undefined) throw failure('EBADF');
  switch (step[0]) {
    case 'read':
      await transfer(
        step[1],
        step[2],
        async (bytes, at) => (await readFile(file, bytes, 0, bytes.length, at)).bytesRead,
      );
      return file;
    case 'write':
      await transfer(
        step[1],
        step[2],
        async (bytes, at) => (await writeFile(file, bytes, 0, bytes.length, at)).bytesWritten,
      );
      return file;
    case 'syncData':
      await syncData(file);
      return file;
    case 'close':
      await closeQuietly(file);
      return undefined;
  }
}

async function transfer(
  bytes: Uint8Array,
  position: number,
  some: (bytes: Uint8Array, position: number) => Promise<number>,
): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const count = await some(bytes.subarray(at), position + at);
    if (count === 0) throw failure('EOF');
    at += count;
  }
}

async function closeQuietly(file: number): Promise<void> {
  try {
    await closeFile(file);
  } catch {
    // What had to be safe was synced before.
  }
}

/** The step that failed, of what RunFileSteps has thrown. */
export function stepOf(thrown: unknown): FileStep[0] | undefined {
  return thrown instanceof Error && 'step' in thrown ? (thrown.step as FileStep[0]) : undefined;
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

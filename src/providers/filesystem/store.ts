// SPDX-License-Identifier: GPL-3.0-or-later
// The ObjectStore over a folder, with Orthanc's own layout where the keys are of the legacy structure.

import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open, stat, unlink } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { FileSystemSettings } from '../../config/settings.ts';
import { StorageError } from '../../errors.ts';
import { PIECE_BYTES } from '../../http/content.ts';
import { abortReason, Cancellation, type Signal } from '../../store/abort.ts';
import { withCheckTimeout } from '../../store/check-timeout.ts';
import { Semaphore } from '../../store/limit.ts';
import type { ByteRange, ObjectStore, OpenFile, Sink } from '../../store/object-store.ts';
import { fileBody, UNLINKED } from '../../store/regular-file.ts';
import { createRun, type Operation, type Run, unlessMissing } from '../operation.ts';
import { isGone, toFileSystemError } from './errors.ts';
import { listFiles } from './list.ts';
import { pathOf, temporaryName } from './paths.ts';
import { createRoot } from './root.ts';
import { createFileSink, fillFile, removeEmptyFolders, writeFile } from './write.ts';

/** Each takes a thread of libuv's while the system is at it, for ever where a disk hangs: there must be some left to look up the names
 *  of hosts with (kThreadPoolSize in native/node_process.cpp). */
const MAX_AT_ONCE = 12;

/** Below StorageDirectory, nothing but what its keys name is ever touched, empty folders aside. A folder may be a link to another disk;
 *  a file that is a link is not followed, since it may lead whoever runs this to what the folder's owner could not read. */
export function createFileSystemStore(settings: FileSystemSettings): ObjectStore {
  const root = createRoot(resolve(settings.folder));
  const { isSynchronous } = settings;
  const closing = new Cancellation();
  const translate = (thrown: unknown, operation: Operation) =>
    toFileSystemError(thrown, operation, root.path);
  const untilGivenUp = createRun(closing, translate);
  const limiter = new Semaphore(MAX_AT_ONCE);
  // One that was given up keeps its place until the system has come back to it.
  const run: Run = (verb, key, signal, work) =>
    untilGivenUp(verb, key, signal, (linked) => limiter.run(linked, () => work(linked)));

  /** Of one file; that it is not there is believed only while its disk is. */
  const runForFile: Run = (verb, key, signal, work) =>
    run(verb, key, signal, async (linked) => {
      try {
        return await work(linked);
      } catch (thrown) {
        if (isGone(thrown)) await root.expectPresent();
        throw thrown;
      }
    });

  async function check(signal: Signal): Promise<void> {
    const found = await stat(root.path);
    if (!found.isDirectory()) {
      throw Object.assign(new Error('not a folder'), { code: 'ENOTDIR' });
    }
    const probe = `${root.path}/${temporaryName(randomUUID())}`;
    const file = await open(probe, 'wx');
    try {
      await file.close();
    } finally {
      await unlink(probe);
    }
    await root.expectPresent();
    if (signal.aborted) throw abortReason(signal);
  }

  const placeOf = (key: string, signal: Signal) => ({
    root,
    path: pathOf(root.path, key),
    isSynchronous,
    signal,
  });

  return {
    put: (key, body, { signal }) =>
      run('write', key, signal, (linked) => writeFile(body, placeOf(key, linked))),

    get: (key, range, sink, { signal }) =>
      runForFile('read', key, signal, (linked) =>
        readFile(pathOf(root.path, key), key, range, sink, linked),
      ),

    head: (key, { signal }) =>
      unlessMissing(
        runForFile('look up', key, signal, async () => {
          const found = await lstat(pathOf(root.path, key));
          if (found.isSymbolicLink()) throw Object.assign(new Error('a link'), { code: 'ELOOP' });
          if (!found.isFile()) throw notFound(key);
          return { sizeBytes: found.size };
        }),
      ),

    async delete(key, { signal }) {
      await unlessMissing(
        runForFile('delete', key, signal, async () => {
          const path = pathOf(root.path, key);
          await unlink(path);
          await removeEmptyFolders(root.path, dirname(path));
        }),
      );
    },

    list: (prefix, { signal }) =>
      listFiles(root, prefix, (step) => run('list', undefined, signal, step)),

    files: {
      open: (key, { signal }) =>
        runForFile('read', key, signal, async (linked) => {
          const opened = await openFile(pathOf(root.path, key));
          if (opened === undefined) throw notFound(key);
          // Then nobody waits for it any more.
          if (linked.aborted) await opened.close();
          return opened;
        }),
      receive: (key, fill, { signal }) =>
        run('write', key, signal, (linked) =>
          fillFile(
            (file) =>
              fill(createFileSink(file, (thrown) => translate(thrown, { verb: 'write', key }))),
            placeOf(key, linked),
          ),
        ),
    },

    check: ({ signal }) =>
      run('check', undefined, signal, (linked) =>
        withCheckTimeout(
          `StorageDirectory "${root.path}"`,
          () => ({ name: 'the disk', settings: 'StorageDirectory' }),
          linked,
          check,
        ),
      ),

    close() {
      closing.abort(new StorageError('CLOSED', 'the file system store is closed'));
      return Promise.resolve();
    },
  };
}

/** @returns undefined where there is something else than a file */
async function openFile(path: string): Promise<OpenFile | undefined> {
  const file = await open(path, constants.O_RDONLY | UNLINKED);
  const found = await file.stat();
  if (!found.isFile()) {
    await file.close();
    return undefined;
  }
  const body = fileBody(
    file.fd,
    found.size,
    () => new StorageError('SHORT_BODY', `"${path}" was cut while being read`, { key: path }),
  );
  return { body, close: () => file.close() };
}

async function readFile(
  path: string,
  key: string,
  range: ByteRange | undefined,
  sink: Sink,
  signal: Signal,
): Promise<void> {
  const file = await open(path, constants.O_RDONLY | UNLINKED);
  try {
    const found = await file.stat();
    if (!found.isFile()) throw notFound(key);
    const { size } = found;
    const { start, end } = range ?? { start: 0, end: size };
    if (end > size) {
      throw new StorageError(
        'BAD_RANGE',
        `bytes ${start} to ${end} were asked of "${key}", which has ${size}`,
        { key },
      );
    }
    if (signal.aborted) throw abortReason(signal);
    sink.begin(end - start, size);
    const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, end - start));
    for (let position = start; position < end; ) {
      const length = Math.min(buffer.length, end - position);
      const { bytesRead } = await file.read(buffer, 0, length, position);
      if (signal.aborted) throw abortReason(signal);
      if (bytesRead === 0) {
        throw new StorageError(
          'SHORT_BODY',
          `"${key}" ends after ${position} of ${size} bytes: it was cut while being read`,
          { key },
        );
      }
      sink.write(position - start, buffer.subarray(0, bytesRead));
      position += bytesRead;
    }
  } finally {
    await file.close();
  }
}

function notFound(key: string): StorageError {
  return new StorageError('NOT_FOUND', `there is no file "${key}" in StorageDirectory`, { key });
}

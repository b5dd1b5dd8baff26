// SPDX-License-Identifier: GPL-3.0-or-later
// Reads, with the help of other connections where one is slow, and compared with the ETag where there is no checksum.

import { createHash } from 'node:crypto';
import { withSplit } from '../../http/split-read.ts';
import type { Signal } from '../../store/abort.ts';
import { viewOf } from '../../store/bodies.ts';
import { probeKey } from '../operation.ts';
import { PROBE } from '../probe.ts';
import type { S3Client } from './client.ts';
import type { Read, ReadMode, Requests } from './requests.ts';

/** Further connections for one large read. With the first, they are as many as a large write has. */
const MAX_HELPERS = 3;

export interface ReaderDependencies {
  readonly client: S3Client;
  readonly requests: Requests;
  readonly maxConnections: number;
  /** Compare ETags also where the reader does not require a checksum. */
  readonly verifyMd5: boolean;
  /** Under which objects may be written. */
  readonly probePrefix: string;
}

export function createReader(
  deps: ReaderDependencies,
): (read: Read, signal: Signal) => Promise<void> {
  const { client, requests } = deps;
  const helpers = Math.min(MAX_HELPERS, deps.maxConnections - 1);
  /** Undefined: not tried yet. */
  let areEtagsMd5: boolean | undefined;

  /** Whether the server's ETags are MD5s, which it does not say. An object is stored and removed, once, after a read that did not match.
   *  @returns true also where that fails: an object that may be damaged is not handed on */
  async function tryEtags(signal: Signal): Promise<boolean> {
    if (areEtagsMd5 !== undefined) return areEtagsMd5;
    const key = probeKey(deps.probePrefix);
    try {
      const put = await requests.put(key, viewOf(PROBE), signal);
      const { headers } = await client.send(put, signal);
      await client.send({ method: 'DELETE', key }, signal);
      const md5 = createHash('md5').update(PROBE).digest('hex');
      areEtagsMd5 = headers['etag']?.replaceAll('"', '') === md5;
      return areEtagsMd5;
    } catch {
      return true;
    }
  }

  async function readOnce(read: Read, mode: ReadMode, signal: Signal): Promise<void> {
    await client.send(await requests.get(read, mode), signal);
  }

  const readWithHelp = (read: Read, etag: ReadMode['etag'], signal: Signal) =>
    withSplit(
      {
        sink: read.sink,
        helpers,
        signal,
        fetch: (range, sink, version, helperSignal) =>
          readOnce({ key: read.key, range, sink }, { version }, helperSignal),
      },
      (split) => readOnce(read, { etag, split }, signal),
    );

  return async (read, signal) => {
    const isWanted = deps.verifyMd5 || read.requireChecksum === true;
    const etag = isWanted && areEtagsMd5 !== false ? { isMismatch: false } : undefined;
    try {
      await readWithHelp(read, etag, signal);
    } catch (thrown) {
      if (etag?.isMismatch !== true || (await tryEtags(signal))) throw thrown;
      await readWithHelp(read, undefined, signal);
    }
  };
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Large contents in blocks. The SDK's uploadData and uploadStream would hold each block under way in memory.

import { randomBytes } from 'node:crypto';
import { digest } from '../../http/content.ts';
import { Cancellation, type Signal } from '../../store/abort.ts';
import type { Body, PutOptions } from '../../store/object-store.ts';
import { planParts, sendParts } from '../parts.ts';
import type { Client } from './client.ts';
import { errorCodeOf } from './errors.ts';
import { digestBlob, type Requests } from './requests.ts';

const MIB = 1024 * 1024;
/** Azure's limit. @see https://learn.microsoft.com/azure/storage/blobs/scalability-targets */
const MAX_BLOCKS = 50_000;
/** Beyond, one request would have the speed of one connection, and a break at its end would cost the whole. */
const SINGLE_PUT_MAX_BYTES = 64 * MIB;
const BLOCK_BYTES = 16 * MIB;
const POOL_SIZE = 4;
/** How often an upload is repeated whose blocks another upload of the same object threw away. */
const MAX_COLLISIONS = 3;

export interface BlockSizes {
  readonly singlePutMaxBytes: number;
  readonly blockBytes: number;
}

export interface Blocks {
  /** Whether a content of this size goes in blocks. */
  isFor(sizeBytes: number): boolean;
  /** A failed upload needs no abort: Azure forgets uncommitted blocks after a week, or when the object is written. */
  put(key: string, body: Body, options: PutOptions): Promise<void>;
}

export function createBlocks(deps: {
  readonly client: Client;
  readonly requests: Requests;
  readonly sizes?: BlockSizes | undefined;
}): Blocks {
  const { client, requests } = deps;
  const { singlePutMaxBytes, blockBytes } = deps.sizes ?? {
    singlePutMaxBytes: SINGLE_PUT_MAX_BYTES,
    blockBytes: BLOCK_BYTES,
  };

  async function sendBlock(
    key: string,
    id: string,
    content: Body,
    signal: Signal,
  ): Promise<string> {
    const wanted = { crc32: false, md5: true, sha256: false };
    const { md5Base64 = '' } = await digest(content, wanted, signal);
    await client.send(requests.putBlock(key, id, content, md5Base64), signal);
    return id;
  }

  function sendBlocks(key: string, body: Body, signal: Signal): Promise<readonly string[]> {
    const plan = planParts(body.sizeBytes, blockBytes, { minPartBytes: MIB, maxParts: MAX_BLOCKS });
    const prefix = randomBytes(8).toString('hex');
    return sendParts(body, plan, POOL_SIZE, signal, (index, content, linked) => {
      const name = `${prefix}-${String(index).padStart(6, '0')}`;
      return sendBlock(key, Buffer.from(name).toString('base64'), content, linked);
    });
  }

  async function upload(
    key: string,
    body: Body,
    { signal, onlyIfVersion }: PutOptions,
  ): Promise<void> {
    const link = new Cancellation(signal);
    // Readers verify by the MD5 of the whole, which Azure does not compute.
    const work = [sendBlocks(key, body, link), digestBlob(body, link)] as const;
    // If one fails, the other must end: the body may be gone as soon as this rejects.
    const [ids, digests] = await Promise.all(work).finally(() => {
      link.release();
      link.abort();
    });
    await client.send(requests.commit(key, ids, digests, onlyIfVersion), signal);
  }

  return {
    isFor: (sizeBytes) => sizeBytes > singlePutMaxBytes,

    async put(key, body, options) {
      for (let collisions = 0; ; collisions++) {
        try {
          await upload(key, body, options);
          return;
        } catch (thrown) {
          if (errorCodeOf(thrown) !== 'InvalidBlockList' || collisions === MAX_COLLISIONS) {
            throw thrown;
          }
        }
      }
    },
  };
}

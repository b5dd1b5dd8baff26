// SPDX-License-Identifier: GPL-3.0-or-later
// Large contents over a session that survives broken connections: what the server has, it keeps. One stream, since parallel parts would
// need either permissions beyond objects.create (XML multipart uploads) or parts that lie in the bucket as objects (compose).
// @see https://docs.cloud.google.com/storage/docs/performing-resumable-uploads

import { AnswerError } from '../../http/answer-error.ts';
import { window } from '../../http/content.ts';
import { type Answer, TransportError } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import type { Body, PutOptions } from '../../store/object-store.ts';
import type { Cleanups } from '../cleanups.ts';
import type { Client, GoogleRequest } from './client.ts';
import { assertMatches, isOfUpload, type Requests, readSession, verifyStored } from './requests.ts';

/** "Go on": the server has a part. */
const RESUME_INCOMPLETE = 308;
/** What a cancelled session answers. */
const CANCELLED = 499;
/** Of a content that is never sent. */
const ANY_CRC32C = 'AAAAAA==';
/** A session left behind takes no space that is billed, and ends by itself after a week. */
const CANCEL_TIMEOUT_MS = 10_000;

export interface Resumable {
  put(key: string, body: Body, options: PutOptions): Promise<void>;
  /** A session that is begun and cancelled: whether the server knows them. Nothing is stored. */
  tryOut(key: string, signal: AbortSignal): Promise<void>;
}

export function createResumable(deps: {
  readonly client: Client;
  readonly requests: Requests;
  /** Failed sessions are cancelled there. */
  readonly cleanups: Cleanups;
  readonly log: Logger;
}): Resumable {
  const { client, requests, cleanups, log } = deps;

  /** @returns path and query of the session: whoever knows them may write the object, so that no log shows them */
  async function begin(
    key: string,
    sizeBytes: number,
    crc32c: string,
    { signal, onlyIfVersion }: PutOptions,
  ): Promise<string> {
    const request = requests.beginResumable(key, sizeBytes, crc32c, onlyIfVersion);
    const session = readSession(await client.attempt(request, signal));
    if (session !== undefined) return session;
    throw new TransportError('NO_SESSION', 'the server began no upload', true, undefined);
  }

  function send(
    key: string,
    session: string,
    content: Body | undefined,
    contentRange: string,
    signal: AbortSignal,
  ): Promise<Answer> {
    return client.attempt(
      {
        method: 'PUT',
        path: session,
        headers: {
          'content-length': String(content?.sizeBytes ?? 0),
          'content-range': contentRange,
        },
        content,
        accept: RESUME_INCOMPLETE,
        isAnswer: isOfUpload,
        assertMatches: assertMatches(key),
      },
      signal,
    );
  }

  async function cancel(session: string): Promise<void> {
    const request: GoogleRequest = {
      method: 'DELETE',
      path: session,
      headers: { 'content-length': '0' },
      accept: CANCELLED,
      isAnswer: () => true,
    };
    await client.attempt(request, AbortSignal.timeout(CANCEL_TIMEOUT_MS));
  }

  async function clear(key: string, session: string): Promise<void> {
    try {
      await cancel(session);
    } catch (thrown) {
      if (isGone(thrown)) return;
      const reason = thrown instanceof Error ? thrown.name : String(thrown);
      log.info(
        `Google Cloud Storage: the failed upload of "${key}" could not be cancelled (${reason}); it ends by itself after a week`,
      );
    }
  }

  return {
    async put(key, body, options) {
      const { signal } = options;
      const { sizeBytes } = body;
      const crc32c = await requests.checksum(body, signal);
      let session: string | undefined;
      let isCertain = true;
      let offset = 0;

      /** @returns true once the server has all */
      async function advance(path: string): Promise<boolean> {
        const answer = isCertain
          ? await send(
              key,
              path,
              window(body, offset, sizeBytes),
              `bytes ${offset}-${sizeBytes - 1}/${sizeBytes}`,
              signal,
            )
          : await send(key, path, undefined, `bytes */${sizeBytes}`, signal);
        if (answer.status !== RESUME_INCOMPLETE) {
          await verifyStored(deps, { key, sizeBytes, crc32c }, answer, signal);
          return true;
        }
        const next = readOffset(answer);
        // All that is done is not answered so, and more than there is belongs to another upload.
        if (next >= sizeBytes || (isCertain && next <= offset)) {
          const words =
            next >= sizeBytes
              ? `the server says that it has ${next} of ${sizeBytes} bytes, and is not done`
              : 'the server took nothing';
          throw new TransportError('NO_PROGRESS', words, true, undefined);
        }
        offset = next;
        isCertain = true;
        return false;
      }

      async function work(): Promise<void> {
        session ??= await cleanups.start(
          signal,
          (outliving) => begin(key, sizeBytes, crc32c, { ...options, signal: outliving }),
          (late) => clear(key, late),
        );
        try {
          while (!(await advance(session))) {
            // What the server did not keep is sent again.
          }
        } catch (thrown) {
          // How much has arrived, only the server knows.
          isCertain = false;
          if (!isGone(thrown)) throw thrown;
          session = undefined;
          isCertain = true;
          offset = 0;
          throw new TransportError('SESSION_LOST', 'the server lost the upload', true, thrown);
        }
      }

      try {
        await client.repeat(signal, work);
      } catch (thrown) {
        const left = session;
        // Not awaited: the caller may be at its deadline.
        if (left !== undefined) cleanups.add(() => clear(key, left));
        throw thrown;
      }
    },

    async tryOut(key, signal) {
      const session = await client.repeat(signal, () => begin(key, 1, ANY_CRC32C, { signal }));
      // Emulators let it be; nothing waits for its bytes.
      await cancel(session).catch(() => undefined);
    },
  };
}

function isGone(thrown: unknown): boolean {
  return thrown instanceof AnswerError && (thrown.status === 404 || thrown.status === 410);
}

/** "bytes=0-N" names what the server has, which some write as Content-Range is written; without it, that is nothing. */
function readOffset(answer: Answer): number {
  const last = /^(?:bytes[= ])?0-(\d+)(?:\/|$)/i.exec(answer.headers['range'] ?? '')?.[1];
  return last === undefined ? 0 : Number(last) + 1;
}

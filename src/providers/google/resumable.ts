// SPDX-License-Identifier: GPL-3.0-or-later
// Large contents go over a session: if a connection breaks, the server keeps what it has. They go in one stream, since parallel parts
// would need permissions beyond objects.create (XML multipart uploads) or would lie in the bucket as objects (compose).
// @see https://docs.cloud.google.com/storage/docs/performing-resumable-uploads

import { AnswerError } from '../../http/answer-error.ts';
import { window } from '../../http/content.ts';
import { type Answer, TransportError } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import type { Signal } from '../../store/abort.ts';
import { viewOf } from '../../store/bodies.ts';
import type { Body, PutOptions } from '../../store/object-store.ts';
import type { Cleanups } from '../cleanups.ts';
import { assertMatches, isMismatch, isOfUpload, readSession } from './answers.ts';
import type { Client } from './client.ts';
import { type Requests, verifyStored } from './requests.ts';

/** The server has a part, and wants the rest. */
const RESUME_INCOMPLETE = 308;
const CANCELLED = 499;
/** For a content that is never sent. */
const ANY_CRC32C = 'AAAAAA==';
/** A session left behind takes no space that is billed, and ends by itself after a week. */
const CANCEL_TIMEOUT_MS = 10_000;

export interface ResumableDependencies {
  readonly client: Client;
  readonly requests: Requests;
  /** Failed sessions are cancelled there. */
  readonly cleanups: Cleanups;
  readonly log: Logger;
}

export async function putResumable(
  deps: ResumableDependencies,
  key: string,
  body: Body,
  options: PutOptions,
): Promise<void> {
  const crc32c = await deps.requests.checksum(body, options.signal);
  await new Upload(deps, key, body, crc32c, options).run();
}

/** Begins a session and cancels it, to learn whether the server knows them. Nothing is stored. */
export async function tryResumable(
  { client, requests }: ResumableDependencies,
  key: string,
  signal: Signal,
): Promise<void> {
  const session = await client.repeat(signal, () =>
    begin(client, requests.beginResumable(key, 1, ANY_CRC32C), signal),
  );
  // Emulators do not know this request.
  await cancel(client, session).catch(() => undefined);
}

class Upload {
  readonly #deps: ResumableDependencies;
  readonly #key: string;
  readonly #body: Body;
  readonly #crc32c: string;
  readonly #options: PutOptions;
  #session: string | undefined;
  #offset = 0;
  /** False if only the server knows how much has arrived. */
  #isOffsetKnown = true;

  constructor(
    deps: ResumableDependencies,
    key: string,
    body: Body,
    crc32c: string,
    options: PutOptions,
  ) {
    this.#deps = deps;
    this.#key = key;
    this.#body = body;
    this.#crc32c = crc32c;
    this.#options = options;
  }

  async run(): Promise<void> {
    const { client, cleanups } = this.#deps;
    try {
      await client.repeat(this.#options.signal, () => this.#attempt());
    } catch (thrown) {
      const left = this.#session;
      // Not awaited: the caller may be at its deadline.
      if (left !== undefined) cleanups.add(() => this.#clear(left));
      throw thrown;
    }
  }

  async #attempt(): Promise<void> {
    this.#session ??= await this.#begin();
    const session = this.#session;
    try {
      while (!(await this.#advance(session))) {
        // Sends again what the server did not keep.
      }
    } catch (thrown) {
      this.#isOffsetKnown = false;
      // What was altered on the way stays so in this session.
      const isAltered = thrown instanceof AnswerError && isMismatch(thrown);
      if (!isGone(thrown) && !isAltered) throw thrown;
      this.#session = undefined;
      this.#offset = 0;
      this.#isOffsetKnown = true;
      if (isAltered) {
        this.#deps.cleanups.add(() => this.#clear(session));
        throw thrown;
      }
      throw new TransportError('SESSION_LOST', 'the server lost the upload', true, thrown);
    }
  }

  #begin(): Promise<string> {
    const { client, requests, cleanups } = this.#deps;
    const { signal, onlyIfVersion } = this.#options;
    const { sizeBytes } = this.#body;
    const request = requests.beginResumable(this.#key, sizeBytes, this.#crc32c, onlyIfVersion);
    return cleanups.start(
      signal,
      (outliving) => begin(client, request, outliving),
      (late) => this.#clear(late),
    );
  }

  /** @returns true once the server has all */
  async #advance(session: string): Promise<boolean> {
    const { sizeBytes } = this.#body;
    const offset = this.#offset;
    const answer = this.#isOffsetKnown
      ? await this.#send(
          session,
          window(this.#body, offset, sizeBytes),
          `bytes ${offset}-${sizeBytes - 1}/${sizeBytes}`,
        )
      : await this.#send(session, undefined, `bytes */${sizeBytes}`);
    if (answer.status !== RESUME_INCOMPLETE) {
      const sent = { key: this.#key, sizeBytes, crc32c: this.#crc32c };
      await verifyStored(this.#deps, sent, answer, this.#options.signal);
      return true;
    }
    const next = readOffset(answer);
    // With all bytes the answer would be another one, and with more it belongs to another upload.
    if (next >= sizeBytes || (this.#isOffsetKnown && next <= offset)) {
      const words =
        next >= sizeBytes
          ? `the server says that it has ${next} of ${sizeBytes} bytes, and is not done`
          : 'the server took nothing';
      throw new TransportError('NO_PROGRESS', words, true, undefined);
    }
    this.#offset = next;
    this.#isOffsetKnown = true;
    return false;
  }

  #send(session: string, content: Body | undefined, contentRange: string): Promise<Answer> {
    const request = {
      method: 'PUT',
      path: session,
      headers: {
        'content-length': String(content?.sizeBytes ?? 0),
        'content-range': contentRange,
      },
      content,
      accept: RESUME_INCOMPLETE,
      isAnswer: isOfUpload,
      assertMatches: assertMatches(this.#key),
    } as const;
    return this.#deps.client.attempt(request, this.#options.signal);
  }

  async #clear(session: string): Promise<void> {
    const { client, log } = this.#deps;
    try {
      await cancel(client, session);
    } catch (thrown) {
      if (isGone(thrown)) return;
      const reason = thrown instanceof Error ? thrown.name : String(thrown);
      log.info(
        `Google Cloud Storage: the failed upload of "${this.#key}" could not be cancelled (${reason}); it ends by itself after a week`,
      );
    }
  }
}

/** @returns path and query of the session. No log shows them: they are enough to write the object */
async function begin(
  client: Client,
  request: ReturnType<Requests['beginResumable']>,
  signal: Signal,
): Promise<string> {
  const session = readSession(await client.attempt(request, signal));
  if (session !== undefined) return session;
  throw new TransportError('NO_SESSION', 'the server began no upload', true, undefined);
}

async function cancel(client: Client, session: string): Promise<void> {
  const request = {
    method: 'DELETE',
    path: session,
    headers: {},
    content: viewOf(new Uint8Array()),
    isWaitedFor: false,
    accept: CANCELLED,
    isAnswer: () => true,
  } as const;
  await client.attempt(request, AbortSignal.timeout(CANCEL_TIMEOUT_MS));
}

function isGone(thrown: unknown): boolean {
  return thrown instanceof AnswerError && (thrown.status === 404 || thrown.status === 410);
}

/** The server has "bytes=0-N", or nothing without this header. Some servers write it like a Content-Range. */
function readOffset(answer: Answer): number {
  const last = /^(?:bytes[= ])?0-(\d+)(?:\/|$)/i.exec(answer.headers['range'] ?? '')?.[1];
  return last === undefined ? 0 : Number(last) + 1;
}

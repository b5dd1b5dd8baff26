// SPDX-License-Identifier: GPL-3.0-or-later
// The requests of the JSON API, and those operations whose answer may say too little.

import { randomUUID } from 'node:crypto';
import type { CreateChecksum } from '../../checksums/checksums.ts';
import { StorageError } from '../../errors.ts';
import { eachPiece } from '../../http/content.ts';
import { refuseRepetition, uuidOf } from '../../http/mismatched-answers.ts';
import type { Answer } from '../../http/transport.ts';
import { text } from '../../http/words.ts';
import type { Signal } from '../../store/abort.ts';
import { bodyFrom, viewOf } from '../../store/bodies.ts';
import type { Body, PutOptions } from '../../store/object-store.ts';
import {
  assertMatches,
  isJson,
  isOfDownload,
  isOfUpload,
  isRemoval,
  isVague,
  NAME_START,
  NOT_FOUND,
  parseObject,
  readObject,
  readSession,
  readSize,
  refuseKind,
  saysNothing,
} from './answers.ts';
import type { Client, GoogleRequest } from './client.ts';
import { type ReadOptions, receive } from './receive.ts';
import type { GoogleSettings } from './settings.ts';

/** The most that a page of a listing may hold. */
const PAGE_OBJECTS = 1_000;
/** What is compared, and `kind`, which shows that an object without a size is empty. */
const UPLOAD_FIELDS = 'fields=kind%2Cname%2Csize%2Ccrc32c';
const HEAD_FIELDS = 'fields=kind%2Cname%2Csize%2Ccrc32c%2Cgeneration';
export class Requests {
  readonly #storageClass: string | undefined;
  readonly #createChecksum: CreateChecksum;
  readonly #bucket: string;
  readonly #objects: string;

  constructor(
    { bucketName, storageClass }: Pick<GoogleSettings, 'bucketName' | 'storageClass'>,
    createChecksum: CreateChecksum,
  ) {
    this.#storageClass = storageClass;
    this.#createChecksum = createChecksum;
    this.#bucket = `/storage/v1/b/${encodeURIComponent(bucketName)}`;
    this.#objects = `${this.#bucket}/o`;
  }

  /** Sends a content together with its name, class and checksum. */
  async upload(
    key: string,
    body: Body,
    { signal, onlyIfVersion }: PutOptions,
  ): Promise<{ readonly request: GoogleRequest; readonly crc32c: string }> {
    // No content holds it but by chance.
    const boundary = randomUUID();
    const crc32c = await this.checksum(body, signal);
    const head = frameHead(boundary, this.#metadata(key, crc32c));
    const content = joinBodies([viewOf(head), body, viewOf(frameTail(boundary))]);
    const request: GoogleRequest = {
      method: 'POST',
      path: this.#uploadPath('multipart', onlyIfVersion),
      headers: {
        'content-type': `multipart/related; boundary=${boundary}`,
        'content-length': String(content.sizeBytes),
      },
      content,
      isAnswer: isOfUpload,
      assertMatches: assertMatches(key),
    };
    return { request, crc32c };
  }

  /** Begins a session that takes the content piece by piece. */
  beginResumable(
    key: string,
    sizeBytes: number,
    crc32c: string,
    onlyIfVersion?: string,
  ): GoogleRequest {
    const json = Buffer.from(this.#metadata(key, crc32c));
    return {
      method: 'POST',
      path: `${this.#uploadPath('resumable', onlyIfVersion)}&name=${encodeURIComponent(key)}`,
      headers: {
        'content-type': 'application/json; charset=UTF-8',
        'content-length': String(json.length),
        'x-upload-content-type': 'application/octet-stream',
        'x-upload-content-length': String(sizeBytes),
      },
      content: viewOf(json),
      isAnswer: (answer) => isJson(answer) || readSession(answer) !== undefined,
    };
  }

  read(options: ReadOptions): GoogleRequest {
    const { key, range } = options;
    return {
      method: 'GET',
      path: `${this.#pathOf(key)}?alt=media`,
      headers: {
        // Proxies must not compress the answer, since its checksum is that of the plain bytes.
        'accept-encoding': 'identity',
        ...(range === undefined ? {} : { range: `bytes=${range.start}-${range.end - 1}` }),
      },
      receive: (status, headers) => receive(options, this.#createChecksum, status, headers),
      isAnswer: (answer) => isOfDownload(answer, range !== undefined),
      assertMatches: (answer) => {
        assertMatches(key)(answer);
        refuseKind('a description', answer);
      },
    };
  }

  head(key: string): GoogleRequest {
    return {
      method: 'GET',
      path: `${this.#pathOf(key)}?${HEAD_FIELDS}`,
      isAnswer: isJson,
      assertMatches: (answer) => {
        assertMatches(key)(answer);
        refuseKind('a content', answer);
      },
    };
  }

  remove(key: string): GoogleRequest {
    return {
      method: 'DELETE',
      path: this.#pathOf(key),
      isAnswer: (answer) => isRemoval(answer) || isVague(answer),
      assertMatches: (answer, connection) => {
        refuseRepetition(connection, answer.headers['x-guploader-uploadid']);
        assertMatches(key)(answer);
      },
    };
  }

  list(prefix: string, pageToken: string | undefined): GoogleRequest {
    const query = new URLSearchParams({
      prefix,
      maxResults: String(PAGE_OBJECTS),
      fields: 'kind,nextPageToken,items(name,size,updated)',
      ...(pageToken === undefined ? {} : { pageToken }),
    });
    return { method: 'GET', path: `${this.#objects}?${query.toString()}`, isAnswer: isJson };
  }

  /** Asks which of the permissions we have. This needs no permission. */
  testPermissions(permissions: readonly string[]): GoogleRequest {
    const query = permissions.map((permission) => `permissions=${permission}`).join('&');
    const path = `${this.#bucket}/iam/testPermissions?${query}`;
    return { method: 'GET', path, isAnswer: isJson };
  }

  /** One pass over the content. */
  async checksum(body: Body, signal: Signal): Promise<string> {
    const sum = this.#createChecksum();
    await eachPiece(body, signal, (piece) => {
      sum.update(piece);
    });
    return sum.toBase64();
  }

  #pathOf(key: string): string {
    return `${this.#objects}/${encodeURIComponent(key)}`;
  }

  #uploadPath(type: 'multipart' | 'resumable', onlyIfVersion: string | undefined): string {
    const condition = onlyIfVersion === undefined ? '' : `&ifGenerationMatch=${onlyIfVersion}`;
    return `/upload${this.#objects}?uploadType=${type}&${UPLOAD_FIELDS}${condition}`;
  }

  #metadata(key: string, crc32c: string): string {
    const uuid = uuidOf(key);
    return JSON.stringify({
      name: key,
      contentType: 'application/octet-stream',
      // A download returns this, but no custom metadata.
      contentDisposition: uuid === undefined ? undefined : `${NAME_START}${uuid}"`,
      crc32c,
      storageClass: this.#storageClass,
    });
  }
}

/** What sends requests. */
interface Operator {
  readonly client: Client;
  readonly requests: Requests;
}

function frameHead(boundary: string, json: string): Buffer {
  return Buffer.from(
    `--${boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n${json}\r\n` +
      `--${boundary}\r\ncontent-type: application/octet-stream\r\n\r\n`,
  );
}

function frameTail(boundary: string): Buffer {
  return Buffer.from(`\r\n--${boundary}--\r\n`);
}

/** Several bodies, one after the other, as one. */
function joinBodies(parts: readonly Body[]): Body {
  const readInto = (start: number, target: Uint8Array) => {
    let partStart = 0;
    for (const part of parts) {
      const from = Math.max(start, partStart);
      const to = Math.min(start + target.length, partStart + part.sizeBytes);
      if (from < to) part.readInto(from - partStart, target.subarray(from - start, to - start));
      partStart += part.sizeBytes;
    }
  };
  return bodyFrom(
    parts.reduce((sum, part) => sum + part.sizeBytes, 0),
    readInto,
  );
}

/** Compares what the server has stored, by its answer or by asking for the object.
 *  @throws StorageError INTEGRITY if it differs, or is not told */
export async function verifyStored(
  { client, requests }: Operator,
  { key, sizeBytes, crc32c }: Stored,
  answer: Answer,
  signal: Signal,
): Promise<void> {
  let told = readObject(answer) ?? {};
  if (saysNothing(told, key)) {
    const head = { ...requests.head(key), accept: NOT_FOUND };
    const found = await client.attempt(head, signal);
    told = found.status === NOT_FOUND ? {} : parseObject(found);
  }
  const stored = text(told['crc32c']);
  const size = told['size'] === undefined && stored !== undefined ? sizeBytes : readSize(told);
  if (size === sizeBytes && (stored === undefined || stored === crc32c)) return;
  const isTold = size !== undefined || stored !== undefined;
  throw new StorageError(
    'INTEGRITY',
    isTold
      ? `what Google Cloud Storage stored as "${key}" is not what was sent`
      : `the server does not say what it stored as "${key}"; does GoogleCloudStorage.Endpoint name a server of Google Cloud Storage?`,
    { key },
  );
}

interface Stored {
  readonly key: string;
  readonly sizeBytes: number;
  readonly crc32c: string;
}

/** Removes an object. If the server says no more than "OK", as any server may, the object is asked for.
 *  @throws what the client throws; StorageError UNAVAILABLE for an object that is still there */
export async function removeObject(
  { client, requests }: Operator,
  key: string,
  signal: Signal,
  options: Pick<GoogleRequest, 'isWaitedFor'> = {},
): Promise<void> {
  const removal = { ...requests.remove(key), ...options };
  if (isRemoval(await client.send(removal, signal))) return;
  const head = { ...requests.head(key), accept: NOT_FOUND };
  if ((await client.send(head, signal)).status === NOT_FOUND) return;
  throw new StorageError(
    'UNAVAILABLE',
    `the server says that "${key}" is removed, and still has it`,
    { key },
  );
}

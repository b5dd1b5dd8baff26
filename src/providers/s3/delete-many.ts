// SPDX-License-Identifier: GPL-3.0-or-later
// Removes many objects by DeleteObjects, and one by one where the server does not know that.

import { createHash } from 'node:crypto';
import { DeleteObjectsCommand } from '@aws-sdk/client-s3';
import { AnswerError } from '../../http/answer-error.ts';
import type { Logger } from '../../log.ts';
import type { Signal } from '../../store/abort.ts';
import { deleteSideBySide, type KeyFailures } from '../operation.ts';
import { wordsOf } from './answers.ts';
import type { S3Client } from './client.ts';
import { changeHeaders } from './sdk.ts';
import type { S3Settings } from './settings.ts';

export function createDeleteMany(deps: {
  readonly settings: S3Settings;
  readonly client: S3Client;
  readonly log: Logger;
}): (keys: readonly string[], signal: Signal) => Promise<KeyFailures> {
  const { settings, client, log } = deps;
  const { bucketName: bucket, maxConnections } = settings;
  let isKnown = true;

  const singly = (keys: readonly string[], signal: Signal) =>
    deleteSideBySide(keys, maxConnections, async (key) => {
      await client.send({ method: 'DELETE', key, isWaitedFor: false }, signal);
    });

  function createCommand(keys: readonly string[]): DeleteObjectsCommand {
    const Delete = { Objects: keys.map((Key) => ({ Key })) };
    const command = new DeleteObjectsCommand({ Bucket: bucket, Delete });
    // S3 demands a checksum of the list. The SDK's is a CRC32.
    if (settings.checksumMode === 'WhenRequired') changeHeaders(command.middlewareStack, useMd5);
    return command;
  }

  return async (keys, signal) => {
    if (keys.length === 1 || !isKnown) return await singly(keys, signal);
    const left = new Set(keys);
    const failures = new Map<string, unknown>();
    try {
      const { Deleted = [], Errors = [] } = await client.call(() => createCommand(keys), signal);
      for (const { Key = '' } of Deleted) left.delete(Key);
      for (const { Key = '', Code = '', Message } of Errors) {
        if (left.delete(Key) && Code !== 'NoSuchKey') {
          failures.set(Key, toAnswerError(Code, Message));
        }
      }
    } catch (thrown) {
      if (!isUnknown(thrown)) throw thrown;
      isKnown = false;
      log.info(
        `The S3 server does not remove several objects by one request (${wordsOf(thrown)}): from now on it gets one request for each`,
      );
    }
    // The answer does not name them, or names them otherwise than we do.
    for (const [key, thrown] of await singly([...left], signal)) failures.set(key, thrown);
    return failures;
  };
}

function useMd5(headers: Record<string, string>, body: unknown): void {
  for (const name of Object.keys(headers)) {
    if (/^x-amz-(sdk-)?checksum-/.test(name)) delete headers[name];
  }
  headers['content-md5'] = createHash('md5').update(String(body)).digest('base64');
}

/** Codes by which servers with 400 refuse who asks, not what is asked. */
const OF_CREDENTIALS =
  /Token|Expired|Skew|Signature|Authorization|AccessKey|Credential|Digest|Timeout/i;

function isUnknown(thrown: unknown): thrown is AnswerError {
  if (!(thrown instanceof AnswerError)) return false;
  const { status, code = '' } = thrown;
  if (status === 404) return code !== 'NoSuchBucket';
  return status === 405 || status === 501 || (status === 400 && !OF_CREDENTIALS.test(code));
}

/** As if the object had been removed by itself. The server tells no status. */
function toAnswerError(code: string, words: string | undefined): AnswerError {
  const isOfServer = /^(InternalError|ServiceUnavailable)$/.test(code);
  const answer = { status: isOfServer ? 500 : 400, headers: {}, body: new Uint8Array() };
  return new AnswerError(answer, { code, words });
}

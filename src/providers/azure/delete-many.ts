// SPDX-License-Identifier: GPL-3.0-or-later
// Removes many blobs by the SDK's batches, and one by one where the server has none.

import { AnswerError } from '../../http/answer-error.ts';
import type { Logger } from '../../log.ts';
import type { Signal } from '../../store/abort.ts';
import { deleteSideBySide, type KeyFailures } from '../operation.ts';
import type { Client } from './client.ts';
import { readRefusal } from './errors.ts';
import type { AzureSettings } from './settings.ts';

/** Azure's limit. */
const BATCH_MAX = 256;
/** Then its blobs go one by one, with the usual retries. */
const BATCH_RETRIES = 2;

export function createDeleteMany(deps: {
  readonly settings: AzureSettings;
  readonly client: Client;
  readonly log: Logger;
}): (keys: readonly string[], signal: Signal) => Promise<KeyFailures> {
  const { settings, client, log } = deps;
  const batches = client.with({ maxRetries: Math.min(BATCH_RETRIES, settings.maxRetries) });
  let isKnown = true;

  const singly = (keys: readonly string[], signal: Signal) =>
    deleteSideBySide(keys, settings.maxConnections, async (key) => {
      await client.send({ method: 'DELETE', key, isWaitedFor: false }, signal);
    });

  async function deleteBatch(keys: readonly string[], signal: Signal): Promise<KeyFailures> {
    if (keys.length === 1 || !isKnown) return await singly(keys, signal);
    const left = new Set(keys);
    const failures = new Map<string, unknown>();
    try {
      const { subResponses } = await batches.call(signal, async (container) => {
        const urls = keys.map((key) => container.getBlobClient(key).url);
        const options = { abortSignal: signal };
        return await container.getBlobBatchClient().deleteBlobs(urls, client.credential, options);
      });
      // The SDK leaves out what it cannot assign to a request.
      for (const [index, { status, headers, bodyAsText = '' }] of Object.entries(subResponses)) {
        const key = keys[Number(index)];
        if (key === undefined) continue;
        left.delete(key);
        if (status < 300 || status === 404) continue;
        const answer = { status, headers: headers.toJson(), body: Buffer.from(bodyAsText) };
        failures.set(key, new AnswerError(answer, readRefusal(answer)));
      }
    } catch (thrown) {
      if (!(thrown instanceof AnswerError) || !mayBeUnknown(thrown)) throw thrown;
      // Azurite 3.35 answers 500 to a batch with a shared access signature. Others may fail once.
      isKnown = thrown.status === 500;
      if (!isKnown) {
        log.info(
          `The blob service does not remove several blobs by one request (${thrown.said}): from now on it gets one request for each`,
        );
      }
    }
    for (const [key, thrown] of await singly([...left], signal)) failures.set(key, thrown);
    return failures;
  }

  return async (keys, signal) => {
    const failures = new Map<string, unknown>();
    for (let start = 0; start < keys.length; start += BATCH_MAX) {
      const batch = keys.slice(start, start + BATCH_MAX);
      try {
        for (const [key, thrown] of await deleteBatch(batch, signal)) failures.set(key, thrown);
      } catch (thrown) {
        // Another batch may have succeeded.
        for (const key of batch) failures.set(key, thrown);
      }
    }
    return failures;
  };
}

function mayBeUnknown({ status, code = '' }: AnswerError): boolean {
  if (status === 400) return !/Authenti|Authori|Header|Account|Md5|Crc64/i.test(code);
  return status === 405 || status === 500 || status === 501;
}

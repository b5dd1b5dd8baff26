// SPDX-License-Identifier: GPL-3.0-or-later
// Carries out Orthanc's storage requests, counts them, and logs each in one line.

import type { Attachment, AttachmentStore } from '../attachments/attachments.ts';
import { contentTypeOf } from '../attachments/naming.ts';
import { toStorageError } from '../errors.ts';
import { errorFields, formatFields, type Logger } from '../log.ts';
import type { Sink } from '../store/object-store.ts';
import type { StorageOperation, StorageRequest } from './bridge.ts';
import type { Counters } from './figures.ts';

const LOG_NAMES = {
  create: 'create',
  readWhole: 'read',
  readRange: 'read-range',
  remove: 'remove',
} as const satisfies Record<StorageOperation, string>;

/** @returns a handler. It has logged what it throws, a StorageError. */
export function createRequestHandler(deps: {
  readonly attachments: AttachmentStore;
  readonly log: Logger;
  readonly counters: Counters;
  /** The provider's kind, for failures that do not name a store. */
  readonly provider: string;
}): (request: StorageRequest) => Promise<void> {
  const { attachments, log, counters } = deps;
  return async (request) => {
    const startedMs = performance.now();
    const elapsedMs = () => Math.round(performance.now() - startedMs);
    const end = counters.begin(request.operation, request.uuid);
    const attachment = {
      uuid: request.uuid,
      contentType: contentTypeOf(request.contentType),
    };
    const fields = { op: LOG_NAMES[request.operation], uuid: request.uuid };
    let bytes = request.operation === 'create' ? request.body.sizeBytes : 0;
    const sink: Sink = {
      ...request.sink,
      begin(sizeBytes, totalBytes) {
        bytes = sizeBytes;
        request.sink.begin(sizeBytes, totalBytes);
      },
    };
    try {
      const key = await perform(attachments, attachment, { ...request, sink });
      end({ bytes });
      log.debug(formatFields({ ...fields, key, bytes, ms: elapsedMs() }));
    } catch (error) {
      const failure = toStorageError(error);
      const line = formatFields({
        ...fields,
        provider: failure.store ?? deps.provider,
        ms: elapsedMs(),
        ...errorFields(failure),
      });
      // The shim has logged and counted abandoned requests. Its signal may come later than the error.
      if (request.signal.aborted || failure.code === 'ABORTED') {
        end('unanswered');
        log.debug(line);
      } else {
        end({ failure });
        log.error(line);
      }
      throw failure;
    }
  };
}

function perform(
  attachments: AttachmentStore,
  attachment: Attachment,
  request: StorageRequest,
): Promise<string> {
  const { operation, range, sink, signal } = request;
  switch (operation) {
    case 'create':
      return attachments.put(attachment, request.body, { signal });
    case 'readWhole':
      return attachments.get(attachment, undefined, sink, { signal });
    case 'readRange':
      return attachments.get(attachment, range, sink, { signal });
    case 'remove':
      return attachments.remove(attachment, { signal });
    default:
      return operation satisfies never;
  }
}

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
    const { operation, uuid } = request;
    const op = LOG_NAMES[operation];
    const startedMs = performance.now();
    const elapsedMs = () => Math.round(performance.now() - startedMs);
    const end = counters.begin(operation, uuid);
    let bytes = operation === 'create' ? request.body.sizeBytes : 0;
    const sink: Sink = {
      anyOrder: request.sink.anyOrder === true,
      begin(sizeBytes, totalBytes) {
        bytes = sizeBytes;
        request.sink.begin(sizeBytes, totalBytes);
      },
      write(offset, piece) {
        request.sink.write(offset, piece);
      },
    };
    try {
      const key = await perform(attachments, request, sink);
      end({ bytes });
      // Orthanc does not tell whether it prints such lines.
      log.debug(formatFields({ op, uuid, key, bytes, ms: elapsedMs() }));
    } catch (error) {
      const failure = toStorageError(error);
      const provider = failure.store ?? deps.provider;
      const line = formatFields({ op, uuid, provider, ms: elapsedMs(), ...errorFields(failure) });
      // The shim has logged and counted abandoned requests. Its signal may come later than the error.
      if (request.signal.aborted || failure.code === 'ABORTED') {
        end({ unanswered: failure });
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
  request: StorageRequest,
  sink: Sink,
): Promise<string> {
  const { operation, uuid, range, signal } = request;
  const attachment: Attachment = { uuid, contentType: contentTypeOf(request.contentType) };
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

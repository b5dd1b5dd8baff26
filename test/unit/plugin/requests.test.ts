// SPDX-License-Identifier: GPL-3.0-or-later

import { beforeEach, expect, test } from 'vitest';
import { createAttachmentStore } from '../../../src/attachments/attachments.ts';
import { ORTHANC_NAMING } from '../../../src/attachments/naming.ts';
import { StorageError, type StorageErrorCode } from '../../../src/errors.ts';
import { createLogger } from '../../../src/log.ts';
import { Counters } from '../../../src/plugin/figures.ts';
import { createRequestHandler } from '../../../src/plugin/requests.ts';
import { makeBody } from '../../support/bodies.ts';
import { createMemoryStore } from '../../support/memory-store.ts';

const UUID = '6ba7b810-9dad-41d1-80b4-00c04fd430c8';

let logged: string[];
let counters: Counters;

beforeEach(() => {
  logged = [];
  counters = new Counters();
});

/** A create whose store fails. */
async function create(code: StorageErrorCode, signal = new AbortController().signal) {
  const store = createMemoryStore();
  store.failWhen(() => code);
  const handle = createRequestHandler({
    attachments: createAttachmentStore({ store, naming: ORTHANC_NAMING }),
    log: createLogger((level, line) => logged.push(`${level}: ${line}`)),
    counters,
    provider: 's3',
  });
  await handle({
    operation: 'create',
    uuid: UUID,
    contentType: 1,
    body: makeBody(Buffer.from('content')),
    sink: { anyOrder: true, begin: () => {}, write: () => {} },
    range: { start: 0, end: 0 },
    signal,
  });
}

test('a failure is one line and counts once', async () => {
  await expect(create('UNAVAILABLE')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(logged).toEqual([
    expect.stringMatching(/^error: op=create .*provider=s3 .*code=UNAVAILABLE/),
  ]);
  const { operations, errors } = counters.snapshot();
  expect(operations.create).toMatchObject({ inFlight: 0, failed: 1 });
  expect(errors).toEqual({ UNAVAILABLE: 1 });
});

// The shim tells in Orthanc's log of what it gives up, and counts it as unanswered.
test.each<[string, StorageErrorCode, boolean]>([
  ['whose signal says that it was given up', 'UNAVAILABLE', true],
  ['whose content is gone, a moment before the signal says so', 'ABORTED', false],
])(
  'a request %s is told, but is no error of the log and no failure',
  async (_name, code, isAborted) => {
    const controller = new AbortController();
    if (isAborted) controller.abort(new StorageError('ABORTED', 'given up'));
    await expect(create(code, controller.signal)).rejects.toBeInstanceOf(StorageError);
    expect(logged).toEqual([expect.stringMatching(/^debug: op=create uuid=/)]);
    const { operations, errors, recentErrors } = counters.snapshot();
    expect(operations.create).toMatchObject({ inFlight: 0, succeeded: 0, failed: 0 });
    expect(errors).toEqual({ ABORTED: 1 });
    expect(recentErrors).toMatchObject([{ operation: 'create', code: 'ABORTED' }]);
  },
);

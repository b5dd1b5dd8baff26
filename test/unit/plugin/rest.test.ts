// SPDX-License-Identifier: GPL-3.0-or-later

import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { createAttachmentStore } from '../../../src/attachments/attachments.ts';
import { ORTHANC_NAMING } from '../../../src/attachments/naming.ts';
import { StorageError } from '../../../src/errors.ts';
import { createLogger } from '../../../src/log.ts';
import type { JobState } from '../../../src/move/job.ts';
import { MOVE_JOB_TYPE } from '../../../src/move/move.ts';
import { NOT_CALLED, type OrthancApi, orthancIsStopping } from '../../../src/orthanc/api.ts';
import type { RestResponse } from '../../../src/plugin/bridge.ts';
import { createPage } from '../../../src/plugin/page.ts';
import { createRestHandler, type RestDependencies } from '../../../src/plugin/rest.ts';
import { makeBody, never } from '../../support/bodies.ts';
import { createFakeIndex, type FakeIndex } from '../../support/fake-index.ts';
import { createMemoryStore, type MemoryStore } from '../../support/memory-store.ts';

const JOB_ID = '6ba7b810-9dad-41d1-80b4-00c04fd430c8';

let index: FakeIndex;
let files: MemoryStore;
let logged: string[];
let submitted: { readonly type: string; readonly priority: number; readonly state: JobState }[];
/** What Orthanc says of the job, one answer at a time; the last one stays. */
let jobStates: unknown[];

beforeEach(() => {
  index = createFakeIndex(2);
  files = createMemoryStore();
  logged = [];
  submitted = [];
  jobStates = [{ State: 'Running' }, { State: 'Success', Content: { Moved: 5 } }];
});

async function ask(
  method: string,
  path: string,
  body: unknown = '',
  changes: Partial<RestDependencies> = {},
  signal = never(),
) {
  const api: OrthancApi = {
    get: (asked) =>
      asked === `/jobs/${JOB_ID}`
        ? Promise.resolve(jobStates.length > 1 ? jobStates.shift() : jobStates[0]).then(thrown)
        : index.api.get(asked),
  };
  const handle = createRestHandler({
    api,
    log: createLogger((level, line) => logged.push(`${level}: ${line}`)),
    status: () => Promise.resolve({ version: '1.2.3' }),
    history: () => Promise.resolve({ time: [1, 2] }),
    page: createPage(() => Promise.resolve({ 'index.html': '<p>' })),
    stores: [
      {
        name: 'file-system',
        attachments: createAttachmentStore({ store: files, naming: ORTHANC_NAMING }),
      },
    ],
    isHybrid: true,
    submitJob: (type, priority, state) => {
      submitted.push({ type, priority, state });
      return Promise.resolve({ status: 200, body: Buffer.from(JOB_ID) });
    },
    waitMs: 10_000,
    ...changes,
  });
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const header = () => undefined;
  const answer = await handle({ method, path, header, body: makeBody(Buffer.from(text)), signal });
  return { ...answer, json: parse(answer) };
}

function thrown(state: unknown): unknown {
  if (state instanceof StorageError) throw state;
  return state;
}

function parse({ body, contentType }: RestResponse): unknown {
  const text = Buffer.from(body).toString();
  return contentType === 'application/json' ? JSON.parse(text) : text;
}

describe('paths and methods', () => {
  test.each<[string, string, number, unknown]>([
    ['GET', '/object-storage/status', 200, { version: '1.2.3' }],
    ['GET', '/object-storage/status', 200, { version: '1.2.3' }],
    ['POST', '/object-storage/status', 405, 'GET'],
    ['GET', '/move-storage', 405, 'POST'],
    ['DELETE', '/object-storage/locate/studies/x', 405, 'GET'],
    ['GET', '/object-storage/locate/images/x', 404, { error: expect.stringContaining('patients') }],
    ['GET', '/object-storage/locate/studies/x', 404, { error: expect.stringContaining('studies') }],
    ['GET', '/object-storage/locate/studies', 404, { error: expect.stringContaining('no such') }],
    ['GET', '/object-storage/nothing', 404, { error: expect.stringContaining('no such path') }],
  ])('%s %s: %i', async (method, path, status, expected) => {
    const answer = await ask(method, path);
    expect(answer.status).toBe(status);
    expect(answer.json).toEqual(expected);
  });
});

test('a resource is located, with a slash behind it as well', async () => {
  for (const end of ['', '/']) {
    const { status, json } = await ask(
      'GET',
      `/object-storage/locate/series/${index.series.id}${end}`,
    );
    expect(status).toBe(200);
    expect(json).toHaveLength(3);
  }
});

test('a store that fails is 500 with its code, and a line in the log', async () => {
  files.failWhen(() => 'ACCESS_DENIED');
  const path = `/object-storage/locate/series/${index.series.id}`;
  const { status, json } = await ask('GET', path);
  expect(status).toBe(500);
  expect(json).toMatchObject({ code: 'ACCESS_DENIED' });
  expect(logged).toEqual([expect.stringMatching(/^error: GET \/object-storage\/locate/)]);
});

describe('POST /move-storage', () => {
  const request = (more: object = {}) => ({
    Resources: [index.study.id],
    TargetStorage: 'object-storage',
    ...more,
  });

  test('waits for the job, and answers what it did', async () => {
    const { status, json } = await ask('POST', '/move-storage', request({ Priority: 3 }));
    expect([status, json]).toEqual([200, { Moved: 5 }]);
    expect(submitted).toMatchObject([{ type: MOVE_JOB_TYPE, priority: 3 }]);
    expect(JSON.parse(submitted[0]?.state.serialized ?? '')).toMatchObject({
      target: 'object-storage',
      resources: [index.study],
    });
  });

  test('is 500 with the list of failures where the job fails', async () => {
    jobStates = [{ State: 'Failure', Content: { Failed: 1, Failures: [{ Uuid: 'x' }] } }];
    const { status, json } = await ask('POST', '/move-storage', request());
    expect([status, json]).toEqual([500, { Failed: 1, Failures: [{ Uuid: 'x' }] }]);
  });

  test('asynchronously it answers at once with the job', async () => {
    const { status, json } = await ask('POST', '/move-storage', request({ Asynchronous: true }));
    expect([status, json]).toEqual([200, { ID: JOB_ID, Path: `/jobs/${JOB_ID}` }]);
  });

  test('of a job that takes longer than a client may wait, it says where to look', async () => {
    jobStates = [{ State: 'Running' }];
    const { status, json } = await ask('POST', '/move-storage', request(), { waitMs: 1 });
    expect([status, json]).toEqual([202, { ID: JOB_ID, Path: `/jobs/${JOB_ID}` }]);
  });

  test('that nobody waits for any more, since Orthanc stops, is no error', async () => {
    jobStates = [{ State: 'Running' }];
    const aborted = new AbortController();
    const asked = ask('POST', '/move-storage', request(), {}, aborted.signal);
    await sleep(20);
    aborted.abort(new StorageError('ABORTED', 'Orthanc no longer waits for this operation'));
    expect((await asked).json).toMatchObject({ code: 'ABORTED' });
    expect(logged).toEqual([expect.stringMatching(/^debug: POST \/move-storage/)]);
  });

  test('that is given up before its job was made makes none', async () => {
    const aborted = new AbortController();
    const asked = ask('POST', '/move-storage', request(), {}, aborted.signal);
    aborted.abort(new StorageError('ABORTED', 'Orthanc no longer waits for this operation'));
    expect((await asked).json).toMatchObject({ code: 'ABORTED' });
    expect(submitted).toEqual([]);
  });

  test('of a job that Orthanc has forgotten', async () => {
    jobStates = [undefined];
    const { status, json } = await ask('POST', '/move-storage', request());
    expect([status, json]).toEqual([
      500,
      { error: `the job ${JOB_ID} is gone`, ID: JOB_ID, Path: `/jobs/${JOB_ID}` },
    ]);
  });

  test.each<[string, () => unknown, Partial<RestDependencies>, RegExp]>([
    ['one store only', () => request(), { isHybrid: false }, /HybridMode/],
    ['no JSON', () => '{', {}, /no JSON/],
    ['an unknown resource', () => request({ Resources: ['x'] }), {}, /no resource "x"/],
    [
      'a body for which storage would wait',
      () => '['.repeat(4 * 2 ** 20 + 1),
      {},
      /several requests/,
    ],
    ['an unknown target', () => request({ TargetStorage: 'tape' }), {}, /TargetStorage/],
  ])('%s is a bad request, and no job', async (_name, body, changes, reason) => {
    const { status, json } = await ask('POST', '/move-storage', body(), changes);
    expect(status).toBe(400);
    expect(json).toEqual({ error: expect.stringMatching(reason) as string });
    expect(submitted).toEqual([]);
  });

  test('Orthanc that is stopping takes no job, and is asked for none', async () => {
    const refused = { status: NOT_CALLED, body: Buffer.from('Orthanc is stopping') };
    const { status, json } = await ask('POST', '/move-storage', request(), {
      submitJob: () => Promise.resolve(refused),
    });
    expect([status, json]).toEqual([503, { error: 'Orthanc is stopping', code: 'CLOSED' }]);
    expect(logged.filter((line) => line.startsWith('error'))).toEqual([]);
  });

  test('whose job Orthanc keeps while it stops says where to look later', async () => {
    jobStates = [{ State: 'Running' }, orthancIsStopping()];
    const { status, json } = await ask('POST', '/move-storage', request());
    expect([status, json]).toEqual([202, { ID: JOB_ID, Path: `/jobs/${JOB_ID}` }]);
  });

  test('Orthanc that takes no job is 500', async () => {
    const { status, json } = await ask('POST', '/move-storage', request(), {
      submitJob: () => Promise.resolve({ status: 500, body: Buffer.from('Orthanc stops') }),
    });
    expect([status, json]).toEqual([500, { error: 'Orthanc stops', code: 'UNAVAILABLE' }]);
  });
});

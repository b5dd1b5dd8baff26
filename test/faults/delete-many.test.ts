// SPDX-License-Identifier: GPL-3.0-or-later
// What becomes of many removals at once when a server knows no such request, does a part of them, or misbehaves.

import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { AzureSettings } from '../../src/providers/azure/settings.ts';
import { createAzureStore } from '../../src/providers/azure/store.ts';
import type { S3Settings } from '../../src/providers/s3/settings.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { answerAzure, connectionStringOf, failAzure } from '../support/azure-memory.ts';
import { never } from '../support/bodies.ts';
import { answerS3, failS3 } from '../support/s3-memory.ts';
import { answerPage, hang, type Step } from '../support/scripted-server.ts';
import {
  makeAzureSettings,
  makeS3Settings,
  TEST_ACCOUNT_KEY,
  TEST_SECRET_KEY,
} from '../support/settings.ts';
import { useBench } from './bench.ts';

const KEYS = ['a.dcm', 'b.dcm', 'c.dcm', 'd.dcm'];

/** @returns the code of each failure, by key */
async function removeAll(
  store: ObjectStore,
  signal: AbortSignal = never(),
): Promise<Readonly<Record<string, string>>> {
  const failures = (await store.deleteMany?.(KEYS, { signal })) ?? new Map();
  return Object.fromEntries([...failures].map(([key, { code }]) => [key, code]));
}

const all = (code: string) => Object.fromEntries(KEYS.map((key) => [key, code]));

describe('S3', () => {
  const bench = useBench<Partial<S3Settings>, never>({
    answer: answerS3,
    create: ({ endpoint }, changes, log) =>
      createS3Store(makeS3Settings({ endpoint, maxRetries: 2, ...changes }), { log }),
    secret: TEST_SECRET_KEY,
  });

  const answerXml =
    (xml: string): Step =>
    async ({ readBody, response }) => {
      await readBody();
      const text = `<?xml version="1.0" encoding="UTF-8"?><DeleteResult>${xml}</DeleteResult>`;
      response.writeHead(200, { 'content-type': 'application/xml' }).end(text);
    };
  const deleted = (...keys: readonly string[]) =>
    keys.map((key) => `<Deleted><Key>${key}</Key></Deleted>`).join('');
  const failed = (key: string, code: string) =>
    `<Error><Key>${key}</Key><Code>${code}</Code><Message>The message of ${code}</Message></Error>`;

  test('what was not removed is a failure of its own; what the answer does not name is removed singly', async () => {
    bench.server.script(
      answerXml(
        deleted('a.dcm') + failed('b.dcm', 'AccessDenied') + failed('c.dcm', 'InternalError'),
      ),
    );
    const store = bench.open();
    expect(await removeAll(store)).toEqual({ 'b.dcm': 'ACCESS_DENIED', 'c.dcm': 'UNAVAILABLE' });
    expect(bench.server.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'POST /bucket/?delete=',
      'DELETE /bucket/d.dcm',
    ]);
  });

  test.each<[string, Step]>([
    ['501', failS3(501, 'NotImplemented')],
    ['405', failS3(405, 'MethodNotAllowed')],
    ['400 with a code of its own', failS3(400, 'MalformedXML')],
    ['404', failS3(404, 'NoSuchKey')],
  ])('a server that answers %s gets single requests from then on', async (_name, answer) => {
    bench.server.script(answer);
    const store = bench.open();
    expect(await removeAll(store)).toEqual({});
    expect(await removeAll(store)).toEqual({});
    expect(bench.methods()).toEqual(['POST', ...Array(8).fill('DELETE')]);
    expect(bench.log.lines.filter((line) => /one request for each/.test(line))).toHaveLength(1);
  });

  test('single requests that hang keep no removal waiting that Orthanc waits for', async () => {
    bench.server.script(failS3(405, 'MethodNotAllowed'), ...KEYS.map(() => hang()));
    const store = bench.open();
    const giveUp = new AbortController();
    const removing = removeAll(store, giveUp.signal);
    await expect.poll(() => bench.methods()).toEqual(['POST', ...Array(4).fill('DELETE')]);
    await store.delete('e.dcm', { signal: AbortSignal.timeout(2_000) });
    giveUp.abort();
    expect(await removing).toEqual(all('ABORTED'));
  });

  test.each<[string, Step, string]>([
    ['expired credentials', failS3(400, 'ExpiredToken'), 'ACCESS_DENIED'],
    ['a denial', failS3(403, 'AccessDenied'), 'ACCESS_DENIED'],
    ['a missing bucket', failS3(404, 'NoSuchBucket'), 'BAD_CONFIG'],
  ])('%s is a failure of all, and no reason for single requests', async (_name, answer, code) => {
    bench.server.script(answer, answerXml(deleted(...KEYS)));
    const store = bench.open();
    expect(await removeAll(store)).toEqual(all(code));
    expect(await removeAll(store)).toEqual({});
    expect(bench.methods()).toEqual(['POST', 'POST']);
  });

  test('a server that is busy is asked again', async () => {
    bench.server.script(failS3(503, 'SlowDown'), answerXml(deleted(...KEYS)));
    expect(await removeAll(bench.open())).toEqual({});
    expect(bench.methods()).toEqual(['POST', 'POST']);
  });

  test('a page of somebody else removes nothing', async () => {
    bench.server.script(answerPage(), answerPage());
    expect(await removeAll(bench.open())).toEqual(all('UNAVAILABLE'));
  });

  test('a server that hangs is given up by its caller', async () => {
    bench.server.script(hang());
    expect(await removeAll(bench.open(), AbortSignal.timeout(50))).toEqual(all('ABORTED'));
  });

  test.each(['WhenSupported', 'WhenRequired'] as const)(
    'the list has a checksum, with ChecksumMode %s too',
    async (checksumMode) => {
      bench.server.script(answerXml(deleted(...KEYS)));
      await removeAll(bench.open({ checksumMode }));
      const [request] = bench.server.requests;
      const md5 = createHash('md5')
        .update(request?.body() ?? '')
        .digest('base64');
      const isMd5 = checksumMode === 'WhenRequired';
      expect(request?.headers['content-md5']).toBe(isMd5 ? md5 : undefined);
      expect(request?.headers['x-amz-checksum-crc32'] === undefined).toBe(isMd5);
    },
  );
});

describe('Azure', () => {
  const bench = useBench<Partial<AzureSettings>, never>({
    answer: answerAzure,
    create: (server, changes, log) =>
      createAzureStore(
        makeAzureSettings(connectionStringOf(server), { maxRetries: 3, ...changes }),
        { log },
      ),
    secret: TEST_ACCOUNT_KEY,
  });

  /** @param statuses in the order of the keys; undefined: no answer for this one */
  const answerBatch =
    (...statuses: readonly (number | undefined)[]): Step =>
    async ({ readBody, response, recorded }) => {
      await readBody();
      const parts = statuses.map((status, index) =>
        status === undefined
          ? ''
          : [
              '--batchresponse_x',
              'Content-Type: application/http',
              `Content-ID: ${index}`,
              '',
              `HTTP/1.1 ${status} Word`,
              ...(status < 300 ? [] : ['x-ms-error-code: BlobImmutableDueToPolicy']),
              '',
              '',
              '',
            ].join('\r\n'),
      );
      response
        .writeHead(202, {
          'x-ms-request-id': 'REQUEST0ID',
          'x-ms-client-request-id': recorded.headers['x-ms-client-request-id'],
          'content-type': 'multipart/mixed; boundary=batchresponse_x',
        })
        .end(`${parts.join('')}--batchresponse_x--\r\n`);
    };

  test('what was not removed is a failure of its own, and a missing one is removed', async () => {
    bench.server.script(answerBatch(202, 409, 404, 202));
    expect(await removeAll(bench.open())).toEqual({ 'b.dcm': 'ACCESS_DENIED' });
    expect(bench.methods()).toEqual(['POST']);
  });

  test.each<[string, Step]>([
    ['501', failAzure(501, 'NotImplemented')],
    ['405', failAzure(405, 'UnsupportedHttpVerb')],
    ['400', failAzure(400, 'InvalidQueryParameterValue')],
  ])('a service that answers %s gets single requests from then on', async (_name, answer) => {
    bench.server.script(answer);
    const store = bench.open();
    expect(await removeAll(store)).toEqual({});
    expect(await removeAll(store)).toEqual({});
    expect(bench.methods()).toEqual(['POST', ...Array(8).fill('DELETE')]);
  });

  test('a service that is busy is asked again, one that denies is not', async () => {
    bench.server.script(failAzure(503, 'ServerBusy'), answerBatch(202, 202, 202, 202));
    const store = bench.open();
    expect(await removeAll(store)).toEqual({});
    bench.server.script(failAzure(403, 'AuthorizationPermissionMismatch'));
    expect(await removeAll(store)).toEqual(all('ACCESS_DENIED'));
    expect(bench.methods()).toEqual(['POST', 'POST', 'POST']);
  });

  test('a page of somebody else removes nothing', async () => {
    bench.server.script(...Array.from({ length: 4 }, () => answerPage()));
    expect(await removeAll(bench.open())).toEqual(all('UNAVAILABLE'));
    expect(bench.methods()).not.toContain('DELETE');
  });
});

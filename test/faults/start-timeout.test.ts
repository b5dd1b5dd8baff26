// SPDX-License-Identifier: GPL-3.0-or-later
// StartTimeout: what waiting may mend is waited for when Orthanc starts, and nothing else.

import { describe, expect, test } from 'vitest';
import { checkStores } from '../../src/attachments/open-stores.ts';
import type { StorageErrorCode } from '../../src/errors.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import { expectFailure } from '../support/bodies.ts';
import { answerS3, failS3 } from '../support/s3-memory.ts';
import { answerPage, reset, type Step, startScriptedServer } from '../support/scripted-server.ts';
import { makeLogger, makeS3Settings } from '../support/settings.ts';
import { useClosing } from './bench.ts';

const NAMING = { rootPath: '', structure: 'flat', legacyUnknownFiles: false } as const;

const closing = useClosing();

async function check(endpoint: string, timeoutMs: number) {
  const log = makeLogger();
  const objects = closing(createS3Store(makeS3Settings({ endpoint }), { log }));
  let waits = 0;
  const startMs = performance.now();
  const onWait = () => {
    waits += 1;
  };
  const checking = checkStores({ objects, files: undefined }, NAMING, log, { timeoutMs, onWait });
  return { checking, log, waits: () => waits, elapsedMs: () => performance.now() - startMs };
}

test.each<[string, Step]>([
  ['fails', failS3(500, 'InternalError')],
  ['is busy', failS3(503, 'SlowDown')],
  ["is not there behind a gateway's page", answerPage(502)],
  ['breaks off', reset()],
])('a store that %s at first is waited for, and the log says why', async (_name, fault) => {
  const server = closing(await startScriptedServer({ answer: answerS3 }));
  server.always(fault);
  const { checking, log, waits } = await check(server.endpoint, 30_000);
  await expect.poll(() => log.lines.length, { timeout: 10_000 }).toBe(1);
  server.always(undefined);
  await checking;
  expect(log.lines[0]).toMatch(
    /^warning: Orthanc's start waits for the store, \d of 30 s \(StartTimeout\) so far: cannot check S3 bucket/,
  );
  // The shim is told that it still starts.
  expect(waits()).toBeGreaterThan(0);
});

test('an address where nobody listens yet is waited for', async () => {
  const first = await startScriptedServer({ answer: answerS3 });
  const { endpoint } = first;
  await first.close();
  const { checking, elapsedMs } = await check(endpoint, 3_000);
  await expectFailure(checking, 'UNAVAILABLE', /nobody listens.*; waited for 3 s \(StartTimeout\)/);
  expect(elapsedMs()).toBeGreaterThan(1_900);
  expect(elapsedMs()).toBeLessThan(5_000);
});

describe('what waiting does not mend is refused at once', () => {
  test.each<[string, Step, StorageErrorCode]>([
    ['a wrong bucket', failS3(404, 'NoSuchBucket'), 'BAD_CONFIG'],
    ['a wrong key', failS3(403, 'InvalidAccessKeyId'), 'ACCESS_DENIED'],
    ["somebody else's page", answerPage(200), 'UNAVAILABLE'],
    ["somebody else's refusal", answerPage(403), 'UNAVAILABLE'],
  ])('%s', async (_name, fault, code) => {
    const server = closing(await startScriptedServer({ answer: answerS3 }));
    server.always(fault);
    const { checking, log, waits, elapsedMs } = await check(server.endpoint, 30_000);
    const error = await expectFailure(checking, code);
    expect(error.message).not.toMatch(/StartTimeout/);
    expect(log.lines).toEqual([]);
    expect(waits()).toBe(0);
    expect(elapsedMs()).toBeLessThan(5_000);
  });

  test('and so is everything with 0', async () => {
    const server = closing(await startScriptedServer({ answer: answerS3 }));
    server.always(failS3(503, 'SlowDown'));
    const { checking, log } = await check(server.endpoint, 0);
    const error = await expectFailure(checking, 'THROTTLED');
    expect(error.message).not.toMatch(/StartTimeout/);
    expect(log.lines).toEqual([]);
  });
});

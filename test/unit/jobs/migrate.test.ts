// SPDX-License-Identifier: GPL-3.0-or-later

import { createSecretKey, randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { createEnvelope } from '../../../src/encryption/envelope.ts';
import { createKeyring } from '../../../src/encryption/keyring.ts';
import { type MigrateCounts, type MigrateOptions, migrate } from '../../../src/jobs/migrate.ts';
import { contentTypeOf, ORTHANC_NAMING } from '../../../src/naming.ts';
import { damage, never } from '../../support/bodies.ts';
import { ciphers } from '../../support/ciphers.ts';
import { createFakeIndex, type FakeAttachment } from '../../support/fake-index.ts';
import { createMemoryStore, type MemoryStore, sideOf } from '../../support/memory-store.ts';

const FLAT = { rootPath: 'root', structure: 'flat', legacyUnknownFiles: false } as const;

let files: MemoryStore;
let bucket: MemoryStore;
let attachments: readonly FakeAttachment[];
let failures: string[];

const legacyKey = (uuid: string) => `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;
const flatKey = ({ uuid, contentType }: FakeAttachment) =>
  `root/${uuid}.${contentType === 1 ? 'dcm' : 'unk'}`;

beforeEach(() => {
  ({ attachments } = createFakeIndex(30));
  files = createMemoryStore();
  bucket = createMemoryStore();
  failures = [];
  for (const { uuid, bytes } of attachments) files.objects.set(legacyKey(uuid), bytes);
});

const sides = () => ({
  from: sideOf(files, ORTHANC_NAMING, { isFileSystem: true }),
  to: sideOf(bucket, FLAT),
});

function run(
  pair: Pick<Parameters<typeof migrate>[0], 'from' | 'to'> = sides(),
  options: Partial<MigrateOptions> = {},
): Promise<MigrateCounts> {
  return migrate(
    {
      ...pair,
      typeOf: (uuid) => {
        const known = attachments.find((attachment) => attachment.uuid === uuid);
        return known === undefined ? undefined : contentTypeOf(known.contentType);
      },
      failed: (key, reason) => failures.push(`${key}: ${reason}`),
      progress: () => undefined,
    },
    {
      atOnce: 4,
      dryRun: false,
      readBack: true,
      isDone: () => false,
      onDone: () => undefined,
      throttle: () => Promise.resolve(),
      signal: never(),
      ...options,
    },
  );
}

function expectAll(): void {
  expect([...bucket.objects.keys()].sort()).toEqual(attachments.map(flatKey).sort());
  for (const attachment of attachments) {
    const copy = bucket.objects.get(flatKey(attachment)) ?? Buffer.alloc(0);
    expect(Buffer.compare(copy, attachment.bytes)).toBe(0);
  }
}

test('copies all and leaves the source; the second run copies nothing; the way back gives the same', async () => {
  files.objects.set('notes.txt', Buffer.from('x'));
  expect(await run()).toMatchObject({ copied: 33, alreadyThere: 0, foreign: 1, failed: 0 });
  expectAll();
  expect(files.objects.size).toBe(34);
  expect(await run()).toMatchObject({ copied: 0, alreadyThere: 33, failed: 0 });
  const before = new Map(files.objects);
  files.objects.clear();
  const { from, to } = sides();
  expect(await run({ from: to, to: from })).toMatchObject({ copied: 33, failed: 0 });
  before.delete('notes.txt');
  expect([...files.objects.keys()].sort()).toEqual([...before.keys()].sort());
});

test('what is there with another content or size is copied again', async () => {
  await run();
  const [one, two] = attachments;
  if (one === undefined || two === undefined) throw new Error('none');
  bucket.objects.set(flatKey(one), damage(Buffer.from(one.bytes), 0));
  bucket.objects.set(flatKey(two), Buffer.from('short'));
  expect(await run()).toMatchObject({ copied: 2, alreadyThere: 31 });
  expectAll();
});

test('without reading back, a copy that the target does not have as written is found by the listing', async () => {
  const [lost, short] = attachments;
  if (lost === undefined || short === undefined) throw new Error('none');
  bucket.waitAt((call) => {
    if (call.startsWith('list') && bucket.objects.size > 0) {
      bucket.objects.delete(flatKey(lost));
      bucket.objects.set(flatKey(short), Buffer.from('x'));
    }
    return undefined;
  });
  expect(await run(sides(), { readBack: false })).toMatchObject({ copied: 31, failed: 2 });
  expect(bucket.calls().filter((call) => call.startsWith('get'))).toEqual([]);
  bucket.waitAt(() => undefined);
  expect(await run(sides(), { readBack: false })).toMatchObject({ copied: 2, failed: 0 });
  expectAll();
});

test('into a file system each copy is read back, also untold', async () => {
  await run();
  files.objects.clear();
  const [damaged] = attachments;
  if (damaged === undefined) throw new Error('none');
  files.waitAt((call) => {
    const key = legacyKey(damaged.uuid);
    if (call === `get ${key}`) files.objects.set(key, Buffer.from(damaged.bytes).fill(0));
    return undefined;
  });
  const { from, to } = sides();
  const back = { from: to, to: from };
  expect(await run(back, { readBack: false })).toMatchObject({ copied: 32, failed: 1 });
  expect(failures[0]).toMatch(/INTEGRITY: the copy, read back/);
  expect(files.objects.size).toBe(32);
});

test('a dry run writes nothing', async () => {
  expect(await run(sides(), { dryRun: true })).toMatchObject({ copied: 33 });
  expect(bucket.objects.size).toBe(0);
});

test('what was noted as done is not read again, unless its size is another', async () => {
  const done = new Set<string>();
  await run(sides(), { onDone: (key) => done.add(key) });
  expect(done.size).toBe(33);
  bucket.forget();
  files.forget();
  const counts = await run(sides(), { isDone: (key) => done.has(key) });
  expect(counts).toMatchObject({ copied: 0, skipped: 33, alreadyThere: 0 });
  expect([...bucket.calls(), ...files.calls()].filter((call) => !call.startsWith('list'))).toEqual(
    [],
  );
  const [one] = attachments;
  bucket.objects.delete(one === undefined ? '' : flatKey(one));
  expect(await run(sides(), { isDone: (key) => done.has(key) })).toMatchObject({ copied: 1 });
});

test('a failing store fails those files only, and the next run brings them', async () => {
  bucket.failWhen((call, count) =>
    count % 3 === 0 && !call.startsWith('list') ? 'UNAVAILABLE' : undefined,
  );
  const counts = await run();
  expect(counts.failed).toBeGreaterThan(0);
  expect(failures).toHaveLength(counts.failed);
  bucket.failWhen(() => undefined);
  expect(await run()).toMatchObject({ failed: 0 });
  expectAll();
});

test('what Orthanc removes meanwhile is no failure', async () => {
  const [gone, kept] = attachments;
  if (gone === undefined || kept === undefined) throw new Error('none');
  files.waitAt((call) => {
    if (call === `get ${legacyKey(gone.uuid)}`) files.objects.delete(legacyKey(gone.uuid));
    return undefined;
  });
  expect(await run()).toMatchObject({ copied: 32, gone: 1, failed: 0 });
  expect(failures).toEqual([]);
  // A source that only seems to have it no more is one.
  files.failWhen((call) => (call === `get ${legacyKey(kept.uuid)}` ? 'NOT_FOUND' : undefined));
  bucket.objects.clear();
  expect(await run()).toMatchObject({ copied: 31, gone: 0, failed: 1 });
});

test('a file whose type nobody knows is a failure, not a guess', async () => {
  files.objects.set(legacyKey('aabbccdd-0000-4000-8000-000000000001'), Buffer.from('x'));
  expect(await run()).toMatchObject({ copied: 33, failed: 1 });
  expect(failures[0]).toMatch(/type/);
});

test('encrypted objects do not reach the file system as they are', async () => {
  const uuid = 'aabbccdd-0000-4000-8000-000000000001';
  bucket.objects.set(`root/${uuid}.dcm.enc`, Buffer.from('A1......'));
  files.objects.clear();
  const { from, to } = sides();
  expect(await run({ from: to, to: from })).toMatchObject({ copied: 0, failed: 1 });
  const legacy = sideOf(bucket, ORTHANC_NAMING);
  bucket.objects.clear();
  bucket.objects.set(legacyKey(uuid), Buffer.from('A2......'));
  expect(await run({ from: legacy, to: from })).toMatchObject({ copied: 0, failed: 1 });
  expect(files.objects.size).toBe(0);
});

describe.each(['A1', 'A2'] as const)('with encryption %s', (format) => {
  const envelope = createEnvelope({
    keyring: createKeyring([{ id: 7, key: createSecretKey(randomBytes(32)) }], 7),
    ciphers,
    format,
    maxInputBytes: 1024 * 1024,
    now: () => performance.now(),
  });

  test.each(['flat', 'legacy'] as const)(
    'what lies in the %s bucket is encrypted, and comes back plain',
    async (structure) => {
      const from = sideOf(files, ORTHANC_NAMING, { isFileSystem: true });
      const to = sideOf(bucket, { ...FLAT, structure }, { envelope });
      const before = new Map(files.objects);
      expect(await run({ from, to })).toMatchObject({ copied: 33, failed: 0 });
      for (const bytes of bucket.objects.values()) {
        expect(Buffer.from(bytes.subarray(0, 2)).toString()).toBe(format);
      }
      expect(await run({ from, to })).toMatchObject({ copied: 0, alreadyThere: 33 });
      files.objects.clear();
      expect(await run({ from: to, to: from })).toMatchObject({ copied: 33, failed: 0 });
      expect([...files.objects.keys()].sort()).toEqual([...before.keys()].sort());
      for (const [key, bytes] of before) {
        expect(Buffer.compare(files.objects.get(key) ?? Buffer.alloc(0), bytes)).toBe(0);
      }
      // Without the keys nothing goes anywhere.
      files.objects.clear();
      const keyless = sideOf(bucket, { ...FLAT, structure });
      expect(await run({ from: keyless, to: from })).toMatchObject({ copied: 0, failed: 33 });
      expect(files.objects.size).toBe(0);
    },
  );
});

// SPDX-License-Identifier: GPL-3.0-or-later

import { createSecretKey, randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { createEnvelope } from '../../../src/encryption/envelope.ts';
import { createKeyring } from '../../../src/encryption/keyring.ts';
import type { Side } from '../../../src/jobs/side.ts';
import {
  type Finding,
  type OrphanDeletion,
  type VerifyCounts,
  verify,
} from '../../../src/jobs/verify.ts';
import { contentTypeOf, ORTHANC_NAMING } from '../../../src/naming.ts';
import type { OrthancApi } from '../../../src/orthanc-api.ts';
import { damage, expectFailure, makeBody, never } from '../../support/bodies.ts';
import { ciphers } from '../../support/ciphers.ts';
import { createFakeIndex, type FakeIndex } from '../../support/fake-index.ts';
import { createMemoryStore, type MemoryStore, sideOf } from '../../support/memory-store.ts';

const naming = { rootPath: '', structure: 'flat', legacyUnknownFiles: false } as const;
const ORPHAN = '00000000-0000-4000-8000-000000000000.dcm';
const HOUR_MS = 3_600_000;

let index: FakeIndex;
let bucket: MemoryStore;
let findings: Finding[];

beforeEach(() => {
  index = createFakeIndex(20);
  bucket = createMemoryStore();
  findings = [];
  for (const attachment of index.attachments) {
    bucket.objects.set(keyOf(attachment), attachment.bytes);
  }
});

const keyOf = ({ uuid, contentType }: { uuid: string; contentType: number }) =>
  `${uuid}.${contentType === 1 ? 'dcm' : 'unk'}`;

function run(options: {
  readonly deep?: boolean;
  readonly max?: number;
  readonly minAgeMs?: number;
  readonly side?: Side;
  readonly files?: Side;
  readonly isNoted?: OrphanDeletion['isNoted'];
  readonly suspectsMax?: number;
}): Promise<VerifyCounts> {
  return verify(
    {
      api: index.api,
      bucket: options.side ?? sideOf(bucket, naming),
      files: options.files,
      report: (finding) => {
        findings.push(finding);
      },
      progress: () => undefined,
    },
    {
      deep: options.deep ?? false,
      minAgeMs: options.minAgeMs ?? -HOUR_MS,
      deletion:
        options.max === undefined
          ? undefined
          : { max: options.max, isNoted: options.isNoted ?? (() => true) },
      atOnce: 4,
      signal: never(),
      now: () => Date.now(),
      ...(options.suspectsMax === undefined ? {} : { suspectsMax: options.suspectsMax }),
    },
  );
}

test('what the index knows is no orphan, where the settings lack what its name was made by', async () => {
  const sealed = new Map([...bucket.objects].map(([key, bytes]) => [`${key}.enc`, bytes]));
  bucket.objects.clear();
  for (const [key, bytes] of sealed) bucket.objects.set(key, bytes);
  bucket.objects.set(ORPHAN, Buffer.alloc(3));
  const counts = await run({ max: 1000 });
  expect(counts).toMatchObject({ otherName: 23, missing: 23, orphans: 1, deletedOrphans: 1 });
  expect(bucket.objects).toEqual(sealed);
  const [first] = index.attachments;
  expect(findings).toContainEqual({
    kind: 'other-name',
    key: `${first?.uuid}.dcm.enc`,
    expectedKey: `${first?.uuid}.dcm`,
  });
});

test('all is well', async () => {
  expect(await run({ deep: true })).toMatchObject({
    indexed: 23,
    objects: 23,
    missing: 0,
    orphans: 0,
    wrongSize: 0,
    corrupt: 0,
  });
  expect(findings).toEqual([]);
});

test('finds what is missing, orphaned, of the wrong size, or corrupt, and what is not ours', async () => {
  const [lost, short, damaged] = index.attachments;
  if (lost === undefined || short === undefined || damaged === undefined) throw new Error('none');
  bucket.objects.delete(keyOf(lost));
  bucket.objects.set(keyOf(short), short.bytes.slice(1));
  const rotten = Buffer.from(damaged.bytes);
  rotten[0] = (rotten[0] ?? 0) ^ 1;
  bucket.objects.set(keyOf(damaged), rotten);
  bucket.objects.set(ORPHAN, Buffer.from('x'));
  // Ours by its uuid, under a name that nobody will ask for.
  bucket.objects.set(`${short.uuid}.json`, Buffer.from('x'));
  bucket.objects.set('readme.txt', Buffer.from('x'));
  const counts = await run({ deep: true });
  expect(counts).toMatchObject({
    missing: 1,
    orphans: 1,
    otherName: 1,
    wrongSize: 1,
    corrupt: 2,
    foreign: 1,
    deletedOrphans: 0,
  });
  expect(findings.filter(({ kind }) => kind === 'missing')).toEqual([
    { kind: 'missing', uuid: lost.uuid, key: keyOf(lost) },
  ]);
  expect(bucket.objects.has(ORPHAN)).toBe(true);
});

test('what cannot be read is not called corrupt', async () => {
  const [one] = index.attachments;
  if (one === undefined) throw new Error('none');
  bucket.failWhen((call) => (call === `get ${keyOf(one)}` ? 'UNAVAILABLE' : undefined));
  expect(await run({ deep: true })).toMatchObject({ corrupt: 0, unreadable: 1, read: 23 });
  expect(findings).toMatchObject([{ kind: 'unreadable', key: keyOf(one) }]);
});

test('what is younger than the minimum age is no orphan', async () => {
  bucket.objects.set(ORPHAN, Buffer.from('x'));
  expect(await run({ minAgeMs: HOUR_MS, max: 10 })).toMatchObject({ orphans: 0, recent: 1 });
  expect(bucket.objects.has(ORPHAN)).toBe(true);
});

test('deletes at most so many orphans', async () => {
  for (let orphan = 0; orphan < 5; orphan += 1) {
    bucket.objects.set(ORPHAN.replace(/^0/, String(orphan + 1)), Buffer.from('x'));
  }
  expect(await run({ max: 3 })).toMatchObject({ orphans: 5, deletedOrphans: 3 });
  expect(bucket.objects.size).toBe(23 + 2);
});

test('an orphan that must stay keeps no other one', async () => {
  const others = [1, 2].map((digit) => ORPHAN.replace(/^0/, String(digit)));
  for (const key of [ORPHAN, ...others]) bucket.objects.set(key, Buffer.from('x'));
  bucket.failWhen((call) => (call === `delete ${ORPHAN}` ? 'ACCESS_DENIED' : undefined));
  expect(await run({ max: 10 })).toMatchObject({ orphans: 3, deletedOrphans: 2 });
  expect([...bucket.objects.keys()].filter((key) => [ORPHAN, ...others].includes(key))).toEqual([
    ORPHAN,
  ]);
  expect(findings).toContainEqual({
    kind: 'undeletable-orphan',
    key: ORPHAN,
    reason: expect.stringMatching(/^ACCESS_DENIED: /) as string,
  });
  bucket.failWhen((call) => (call === `delete ${ORPHAN}` ? 'UNAVAILABLE' : undefined));
  await expectFailure(run({ max: 10 }), 'UNAVAILABLE');
});

test('deletes only what an earlier run has noted', async () => {
  const others = [1, 2, 3].map((digit) => ORPHAN.replace(/^0/, String(digit)));
  for (const key of [ORPHAN, ...others]) bucket.objects.set(key, Buffer.from('x'));
  const isNoted: OrphanDeletion['isNoted'] = ({ key, sizeBytes }) =>
    key === ORPHAN && sizeBytes === 1;
  expect(await run({ max: 10, isNoted })).toMatchObject({ orphans: 4, deletedOrphans: 1 });
  expect(bucket.objects.has(ORPHAN)).toBe(false);
  expect(bucket.objects.size).toBe(23 + 3);
});

test('where the index knows nothing of the bucket, nothing is deleted, nor noted to be', async () => {
  const strange = createMemoryStore();
  strange.objects.set(ORPHAN, Buffer.from('x'));
  const side = sideOf(strange, naming);
  await expectFailure(run({ max: 10, side }), 'BAD_CONFIG', /knows none of the 1 objects/);
  expect([strange.objects.size, findings]).toEqual([1, []]);
  // To look costs nothing.
  expect(await run({ side })).toMatchObject({ orphans: 1, missing: 23 });
  strange.objects.clear();
  expect(await run({ max: 10, side })).toMatchObject({ orphans: 0, missing: 23 });
});

test('--deep counts what the index has no MD5 of', async () => {
  const [one] = index.attachments;
  if (one === undefined) throw new Error('none');
  bucket.objects.set(keyOf(one), new Uint8Array(one.bytes.length));
  index = { ...index, api: withoutMd5(index.api) };
  const counts = await run({ deep: true });
  expect(counts).toMatchObject({ corrupt: 0, read: 23, notCompared: 23 });
});

/** As with StoreMD5ForAttachments off. */
function withoutMd5(api: OrthancApi): OrthancApi {
  return {
    get: async (path) =>
      JSON.parse(
        JSON.stringify(await api.get(path), (key, value: unknown) =>
          key === 'CompressedMD5' ? '' : value,
        ),
      ) as unknown,
  };
}

test('more suspects than one run keeps are counted, never passed over in silence', async () => {
  for (const digit of [1, 2, 3, 4, 5]) {
    bucket.objects.set(ORPHAN.replace(/^0/, String(digit)), Buffer.from('x'));
  }
  for (const lost of index.attachments.slice(0, 4)) bucket.objects.delete(keyOf(lost));
  expect(await run({ suspectsMax: 3 })).toMatchObject({ orphans: 3, notLookedAt: 2 + 1 });
  expect(await run({})).toMatchObject({ orphans: 5, missing: 4, notLookedAt: 0 });
});

describe('with files on the disk, too', () => {
  let disk: MemoryStore;
  const files = () => sideOf(disk, ORTHANC_NAMING, { isFileSystem: true });
  const pathOf = ({ uuid }: { readonly uuid: string }) =>
    `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;

  beforeEach(() => {
    disk = createMemoryStore();
    for (const attachment of index.attachments.slice(0, 10)) {
      bucket.objects.delete(keyOf(attachment));
      disk.objects.set(pathOf(attachment), attachment.bytes);
    }
  });

  test('what lies there is not missing, and costs no request of the bucket', async () => {
    bucket.forget();
    expect(await run({ files: files() })).toMatchObject({ missing: 0, elsewhere: 10 });
    expect(bucket.calls()).toEqual(['list ']);
  });

  test('what the C++ plugins have encrypted there is as it was stored', async () => {
    const key = createSecretKey(randomBytes(32));
    const envelope = createEnvelope({
      keyring: createKeyring([{ id: 1, key }], 1),
      ciphers,
      format: 'A1',
      maxInputBytes: 1_000_000,
      now: () => performance.now(),
    });
    for (const one of index.attachments.slice(0, 10)) {
      const identity = { uuid: one.uuid, contentType: contentTypeOf(one.contentType) };
      await envelope.put(disk, pathOf(one), makeBody(one.bytes), identity, { signal: never() });
    }
    const side = sideOf(disk, ORTHANC_NAMING, { isFileSystem: true, envelope });
    const counts = await run({ deep: true, files: side });
    expect(counts).toMatchObject({ missing: 0, elsewhere: 10, read: 23 });
    expect(findings).toEqual([]);
  });

  test('--deep reads it as well, also where the bucket has another copy', async () => {
    const [rotten, short, both] = index.attachments;
    if (rotten === undefined || short === undefined || both === undefined) throw new Error('none');
    const damaged = (bytes: Uint8Array) => damage(Buffer.from(bytes), 0);
    disk.objects.set(pathOf(rotten), damaged(rotten.bytes));
    disk.objects.set(pathOf(short), short.bytes.slice(1));
    bucket.objects.set(keyOf(both), both.bytes);
    disk.objects.set(pathOf(both), damaged(both.bytes));
    const counts = await run({ deep: true, files: files() });
    expect(counts).toMatchObject({ missing: 0, wrongSize: 1, corrupt: 3, read: 23 });
    expect(findings).toContainEqual({
      kind: 'wrong-size',
      store: 'file-system',
      key: pathOf(short),
      sizeBytes: short.bytes.length - 1,
      expectedBytes: short.bytes.length,
    });
    for (const { uuid } of [rotten, both]) {
      expect(findings).toContainEqual({
        kind: 'corrupt',
        store: 'file-system',
        key: pathOf({ uuid }),
        reason: expect.stringMatching(/the MD5/) as string,
      });
    }
  });

  test('a disk that is away ends it: its files are not missing', async () => {
    disk.failWhen(() => 'UNAVAILABLE');
    await expectFailure(run({ files: files() }), 'UNAVAILABLE');
    expect(findings).toEqual([]);
  });
});

test('what the index forgets meanwhile is not missing, and what it learns is no orphan', async () => {
  const [gone, late] = index.attachments;
  if (gone === undefined || late === undefined) throw new Error('none');
  bucket.objects.delete(keyOf(gone));
  index.forget(late.uuid);
  bucket.waitAt((call) => {
    if (call.startsWith('list')) {
      index.forget(gone.uuid);
      index.remember(late.uuid);
    }
    return undefined;
  });
  expect(await run({ max: 10 })).toMatchObject({ missing: 0, orphans: 0 });
  expect(bucket.objects.has(keyOf(late))).toBe(true);
});

test('knows the sizes of encrypted objects, and reads them with --deep', async () => {
  const envelope = createEnvelope({
    keyring: createKeyring([{ id: 7, key: createSecretKey(randomBytes(32)) }], 7),
    ciphers,
    format: 'A2',
    maxInputBytes: 1024 * 1024,
    now: () => performance.now(),
  });
  const sealed = createMemoryStore();
  const side = sideOf(sealed, naming, { envelope });
  for (const { uuid, contentType, bytes } of index.attachments) {
    const attachment = { uuid, contentType: contentTypeOf(contentType) };
    await side.attachments.put(attachment, makeBody(bytes), { signal: never() });
  }
  bucket = sealed;
  // One from before.
  const [old] = index.attachments;
  if (old === undefined) throw new Error('none');
  sealed.objects.delete(`${keyOf(old)}.enc`);
  sealed.objects.set(keyOf(old), old.bytes);
  expect(await run({ deep: true, side })).toMatchObject({
    missing: 0,
    orphans: 0,
    wrongSize: 0,
    corrupt: 0,
  });
  const [key = ''] = [...sealed.objects.keys()].filter((name) => name.endsWith('.enc'));
  const rotten = Buffer.from(sealed.objects.get(key) ?? '');
  rotten[60] = (rotten[60] ?? 0) ^ 1;
  sealed.objects.set(key, rotten);
  sealed.objects.set(keyOf(old), damage(Buffer.from(old.bytes), 0));
  expect(await run({ deep: true, side })).toMatchObject({ corrupt: 2 });
  expect(new Set(findings.map((finding) => finding.key))).toEqual(new Set([key, keyOf(old)]));
});

// SPDX-License-Identifier: GPL-3.0-or-later

import { createSecretKey, randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { contentTypeOf, ORTHANC_NAMING } from '../../../../src/attachments/naming.ts';
import { Envelope } from '../../../../src/encryption/envelope.ts';
import { Keyring } from '../../../../src/encryption/keyring.ts';
import type { EncryptionFormat } from '../../../../src/encryption/sizes.ts';
import type { OrthancApi } from '../../../../src/orthanc/api.ts';
import type { Side } from '../../../../src/tools/common/sides.ts';
import { orthancIdsOf, readDicomIdentifiers } from '../../../../src/tools/verify/dicom.ts';
import type { Finding, VerifyCounts } from '../../../../src/tools/verify/findings.ts';
import { type OrphanDeletion, verify } from '../../../../src/tools/verify/verify.ts';
import { createAes } from '../../../support/aes.ts';
import { damage, expectFailure, makeBody, never } from '../../../support/bodies.ts';
import { makeDicom } from '../../../support/dicom.ts';
import {
  createFakeIndex,
  type FakeAttachment,
  type FakeIndex,
} from '../../../support/fake-index.ts';
import { createMemoryStore, type MemoryStore, sideOf } from '../../../support/memory-store.ts';

const naming = { rootPath: '', structure: 'flat', legacyUnknownFiles: false } as const;
/** Of what an instance of the index has. */
const ownerOf = ({ resource }: FakeAttachment) => ({
  instance: resource.id,
  series: index.series.id,
  study: index.study.id,
});
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
  readonly disk?: Side;
  readonly identify?: boolean;
  readonly isNoted?: OrphanDeletion['isNoted'];
  readonly suspectsMax?: number;
  readonly graceMs?: number;
}): Promise<VerifyCounts> {
  return verify(
    {
      api: index.api,
      bucket: options.side ?? sideOf(bucket, naming),
      files: options.files,
      disk: options.disk,
      report: (finding) => {
        findings.push(finding);
      },
      progress: () => undefined,
    },
    {
      deep: options.deep ?? false,
      identify: options.identify ?? false,
      minAgeMs: options.minAgeMs ?? -HOUR_MS,
      deletion:
        options.max === undefined
          ? undefined
          : { max: options.max, isNoted: options.isNoted ?? (() => true) },
      atOnce: 4,
      signal: never(),
      now: () => Date.now(),
      graceMs: options.graceMs ?? 0,
      ...(options.suspectsMax === undefined ? {} : { suspectsMax: options.suspectsMax }),
    },
  );
}

function makeEnvelope(format: EncryptionFormat): Envelope {
  return new Envelope({
    keyring: new Keyring([{ id: 7, key: createSecretKey(randomBytes(32)) }], 7),
    createAes,
    format,
    maxInputBytes: 1_000_000,
  });
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
  if (first === undefined) throw new Error('none');
  expect(findings).toContainEqual({
    kind: 'other-name',
    key: `${first.uuid}.dcm.enc`,
    expectedKey: `${first.uuid}.dcm`,
    ...ownerOf(first),
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
    { kind: 'missing', uuid: lost.uuid, key: keyOf(lost), ...ownerOf(lost) },
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

test('each is named with whose it is, by one request at most for each instance', async () => {
  const [lost] = index.attachments;
  const ofStudy = index.attachments.find(({ resource }) => resource.id === index.study.id);
  const ofPatient = index.attachments.find(({ resource }) => resource.id === index.patient.id);
  if (lost === undefined || ofStudy === undefined || ofPatient === undefined) throw new Error();
  for (const attachment of index.attachments) bucket.objects.delete(keyOf(attachment));
  const requests: string[] = [];
  const { api } = index;
  index = {
    ...index,
    api: {
      get: (path) => {
        requests.push(path);
        return api.get(path);
      },
    },
  };
  expect(await run({})).toMatchObject({ missing: 23 });
  const missing = (attachment: FakeAttachment) => ({
    kind: 'missing',
    uuid: attachment.uuid,
    key: keyOf(attachment),
  });
  expect(findings).toContainEqual({ ...missing(lost), ...ownerOf(lost) });
  expect(findings).toContainEqual({ ...missing(ofStudy), study: index.study.id });
  expect(findings).toContainEqual({ ...missing(ofPatient), patient: index.patient.id });
  const others = requests.filter((path) => !path.includes('?expand'));
  expect(others.filter((path) => path.startsWith('/instances'))).toHaveLength(21);
  expect(others.filter((path) => path.startsWith('/series'))).toHaveLength(1);
});

describe("an index that is hardly the bucket's", () => {
  /** @param known of so many objects, all as old as told */
  function fill(known: number, unknown: number): void {
    for (const attachment of index.attachments.slice(known)) index.forget(attachment.uuid);
    bucket.objects.clear();
    for (const one of index.attachments.slice(0, known)) bucket.objects.set(keyOf(one), one.bytes);
    for (let number = 0; number < unknown; number += 1) bucket.objects.set(strange(number), ANY);
  }
  const ANY = Buffer.from('x');
  const strange = (number: number) => ORPHAN.replace(/^0{8}/, number.toString(16).padStart(8, '0'));

  test.each([
    ['an empty one beside a bucket', 0, 54, true],
    ['an empty one beside one object', 0, 1, true],
    ['a new one', 2, 54, true],
    ['one of another Orthanc', 0, 23, true],
    ['an empty one beside an empty bucket', 0, 0, false],
    ['a small archive with orphans', 3, 9, false],
    ['an archive with as many orphans', 23, 23, false],
  ])('%s: %i known, %i not', async (_, known, unknown, isAlarm) => {
    fill(known, unknown);
    const expected = isAlarm ? { known, unknown } : null;
    for (const minAgeMs of [HOUR_MS, -HOUR_MS]) {
      const counts = await run({ minAgeMs });
      expect(counts.alarm).toEqual(expected);
      expect([counts.orphans, counts.recent]).toEqual(minAgeMs > 0 ? [0, unknown] : [unknown, 0]);
      const deletion = run({ minAgeMs, max: 10 });
      if (isAlarm)
        await expectFailure(deletion, 'BAD_CONFIG', /is hardly the bucket's: nothing is/);
      else await deletion;
    }
    if (isAlarm) expect(bucket.objects.size).toBe(known + unknown);
  });

  test('an index of others, of which the bucket has nothing', async () => {
    bucket.objects.clear();
    bucket.objects.set(ORPHAN, ANY);
    expect(await run({})).toMatchObject({ missing: 23, alarm: { known: 0, unknown: 1 } });
  });

  test('what is stored while it is looked at is no reason', async () => {
    const before = index.attachments.map(({ uuid }) => uuid);
    for (const uuid of before) index.forget(uuid);
    bucket.waitAt((call) => {
      if (call.startsWith('list')) for (const uuid of before) index.remember(uuid);
      return undefined;
    });
    expect(await run({ minAgeMs: HOUR_MS })).toMatchObject({ indexed: 0, recent: 23, alarm: null });
  });

  test('objects of others, and files on the disk, are no reason', async () => {
    fill(1, 1);
    for (const number of [1, 2, 3, 4, 5, 6, 7, 8])
      bucket.objects.set(`other/${strange(number)}`, ANY);
    expect((await run({})).alarm).toBeNull();
    const disk = createMemoryStore();
    for (const one of index.attachments) {
      index.remember(one.uuid);
      disk.objects.set(one.uuid.replace(/^(..)(..)/, '$1/$2/$1$2'), one.bytes);
    }
    for (let number = 0; number < 50; number += 1) bucket.objects.set(strange(number), ANY);
    const files = sideOf(disk, ORTHANC_NAMING, { isFileSystem: true });
    expect(await run({ files })).toMatchObject({ known: 1, elsewhere: 22, alarm: null });
    expect(await run({})).toMatchObject({ alarm: { known: 1, unknown: 50 } });
  });

  test('where there are more than are kept, these stand for all', async () => {
    fill(2, 40);
    expect(await run({ suspectsMax: 3 })).toMatchObject({
      alarm: { known: 2, unknown: 40 },
      notLookedAt: 37,
    });
  });
});

describe('orphans that are looked into', () => {
  const file = makeDicom({ sopInstanceUid: '1.2.3', patientName: 'Doe^Jane', pixelBytes: 2 });
  const identifiers = readDicomIdentifiers(file);
  if (identifiers === undefined || identifiers === 'incomplete') throw new Error('no DICOM');
  const ids = orthancIdsOf(identifiers);
  const plain = () => sideOf(bucket, naming);

  test.each(['A1', 'A2', undefined] as const)('%s: whose they are, no more', async (format) => {
    const side = sideOf(bucket, naming, format && { envelope: makeEnvelope(format) });
    const uuid = ORPHAN.slice(0, 36);
    await side.attachments.put({ uuid, contentType: 1 }, makeBody(file), { signal: never() });
    const counts = await run({ identify: true, side, minAgeMs: -HOUR_MS });
    expect(counts).toMatchObject({ orphans: 1 });
    const [orphan] = findings.filter(({ kind }) => kind === 'orphan');
    expect(orphan).toEqual({
      kind: 'orphan',
      key: `${ORPHAN}${format === undefined ? '' : '.enc'}`,
      sizeBytes: expect.any(Number) as number,
      modified: expect.any(String) as string,
      ...ids,
      isKnown: false,
    });
    for (const secret of Object.values(identifiers)) {
      expect(JSON.stringify(findings)).not.toContain(secret);
    }
    expect(JSON.stringify(findings)).not.toContain('Jane');
  });

  test('Orthanc has the instance under another attachment', async () => {
    bucket.objects.set(ORPHAN, file);
    const { api } = index;
    const path = `/instances/${ids.instance}`;
    index = {
      ...index,
      api: { get: (asked) => (asked === path ? Promise.resolve({}) : api.get(asked)) },
    };
    await run({ identify: true });
    expect(findings).toMatchObject([{ kind: 'orphan', ...ids, isKnown: true }]);
  });

  test.each([
    ['text', '.dcm', Buffer.from('Doe^Jane'), /it is no DICOM file, or none whose identifiers/],
    ['nothing', '.dcm', Buffer.alloc(0), /it is no DICOM file/],
    ['a file that is cut', '.dcm', file.subarray(0, 300), /it is no DICOM file/],
    ['a name of others', '.json', file, /no DICOM file by its name/],
    ['what is encrypted', '.dcm.enc', file, /encrypted, and the configuration has no keys/],
  ])('%s is told in words', async (_, extension, bytes, reason) => {
    bucket.objects.set(ORPHAN.replace('.dcm', extension), bytes);
    await run({ identify: true, side: plain() });
    const text = expect.stringMatching(reason) as string;
    expect(findings).toMatchObject([{ kind: 'orphan', unidentified: text }]);
    expect(JSON.stringify(findings)).not.toContain('Jane');
  });

  test('one that cannot be read keeps no other one', async () => {
    const large = Buffer.concat([file, Buffer.alloc(1_000_000)]);
    bucket.objects.set(ORPHAN, large);
    bucket.objects.set(ORPHAN.replace(/^0/, '1'), large);
    bucket.failWhen((call) => (call === `get ${ORPHAN}` ? 'UNAVAILABLE' : undefined));
    expect(await run({ identify: true })).toMatchObject({ orphans: 2 });
    expect(findings).toContainEqual(
      expect.objectContaining({
        key: ORPHAN,
        unidentified: expect.stringMatching(/^UNAVAILABLE: /),
      }),
    );
    expect(findings).toContainEqual(expect.objectContaining(ids));
  });
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
    const envelope = makeEnvelope('A1');
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
      ...ownerOf(short),
    });
    for (const attachment of [rotten, both]) {
      expect(findings).toContainEqual({
        kind: 'corrupt',
        store: 'file-system',
        key: pathOf(attachment),
        reason: expect.stringMatching(/the MD5/) as string,
        ...ownerOf(attachment),
      });
    }
  });

  test('is looked through: what nobody removes any more, what nobody reads', async () => {
    const [left, copy, only] = index.attachments;
    if (left === undefined || copy === undefined || only === undefined) throw new Error('none');
    disk.objects.set('index', Buffer.from('SQLite'));
    disk.objects.set('index-wal', Buffer.from('SQLite'));
    index.forget(left.uuid);
    bucket.objects.set(keyOf(copy), copy.bytes);
    // Of whatever age: nobody writes there.
    const counts = await run({ disk: files(), minAgeMs: HOUR_MS });
    expect(counts).toMatchObject({
      files: 10,
      orphansOnDisk: 1,
      copiesOnDisk: 1,
      onlyOnDisk: 8,
      missing: 0,
      elsewhere: 0,
      recent: 0,
      alarm: null,
    });
    expect(findings).toHaveLength(10);
    const sizeBytes = left.bytes.length;
    const modified = expect.any(String) as string;
    expect(findings).toContainEqual({
      kind: 'orphan-on-disk',
      key: pathOf(left),
      sizeBytes,
      modified,
    });
    expect(findings).toContainEqual({
      kind: 'copy-on-disk',
      key: pathOf(copy),
      sizeBytes: copy.bytes.length,
    });
    expect(findings).toContainEqual({
      kind: 'only-on-disk',
      uuid: only.uuid,
      key: pathOf(only),
      ...ownerOf(only),
    });
    expect(disk.objects.size).toBe(12);
    expect(disk.calls().filter((call) => /^(delete|put)/.test(call))).toEqual([]);
  });

  test('with hybrid storage both sides are read and removed from: only orphans are left', async () => {
    const [left, copy] = index.attachments;
    if (left === undefined || copy === undefined) throw new Error('none');
    index.forget(left.uuid);
    bucket.objects.set(keyOf(copy), copy.bytes);
    const counts = await run({ files: files(), disk: files() });
    const expected = { files: 10, orphansOnDisk: 1, copiesOnDisk: 1, onlyOnDisk: 0, elsewhere: 8 };
    expect(counts).toMatchObject(expected);
    expect(findings).toMatchObject([{ kind: 'orphan-on-disk', key: pathOf(left) }]);
  });

  test('what Orthanc has just written there is waited for', async () => {
    const [late] = index.attachments;
    if (late === undefined) throw new Error('none');
    index.forget(late.uuid);
    await disk.put(pathOf(late), makeBody(late.bytes), { signal: never() });
    const timer = setTimeout(() => {
      index.remember(late.uuid);
    }, 300);
    expect(await run({ files: files(), disk: files(), graceMs: 600 })).toMatchObject({
      orphansOnDisk: 0,
      files: 10,
    });
    clearTimeout(timer);
  });

  test('an empty index beside a full disk is an alarm, too', async () => {
    for (const { uuid } of index.attachments) index.forget(uuid);
    bucket.objects.clear();
    expect(await run({ disk: files() })).toMatchObject({ alarm: { known: 0, unknown: 10 } });
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
  const envelope = makeEnvelope('A2');
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
  expect(new Set(findings.map(({ key }) => key))).toEqual(new Set([key, keyOf(old)]));
});

test('--deep reads each content once, also where pages of the index overlap', async () => {
  index = createFakeIndex(1100);
  for (const attachment of index.attachments) {
    bucket.objects.set(keyOf(attachment), attachment.bytes);
  }
  bucket.forget();
  const counts = await run({ deep: true });
  expect(counts).toMatchObject({ indexed: 1103, read: 1103, corrupt: 0 });
  expect(bucket.calls().filter((call) => call.startsWith('get'))).toHaveLength(1103);
});

test('--deep ends where the store fails, instead of naming each content', async () => {
  index = createFakeIndex(200);
  for (const attachment of index.attachments) {
    bucket.objects.set(keyOf(attachment), attachment.bytes);
  }
  bucket.failWhen((call) => (call.startsWith('get') ? 'ACCESS_DENIED' : undefined));
  await expectFailure(run({ deep: true }), 'ACCESS_DENIED', /50 failures in a row/);
  expect(findings.length).toBeLessThan(60);
});

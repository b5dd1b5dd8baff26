// SPDX-License-Identifier: GPL-3.0-or-later

import { createSecretKey, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { ORTHANC_NAMING } from '../../../../src/attachments/naming.ts';
import { Envelope } from '../../../../src/encryption/envelope.ts';
import { Keyring } from '../../../../src/encryption/keyring.ts';
import { createFileSystemStore } from '../../../../src/providers/filesystem/store.ts';
import {
  type IndexedContents,
  readIndexedContents,
} from '../../../../src/tools/common/indexed-contents.ts';
import {
  type MigrateCounts,
  type MigrateOptions,
  migrate,
} from '../../../../src/tools/migrate/migrate.ts';
import { createAes } from '../../../support/aes.ts';
import {
  damage,
  expectFailure,
  expectSameBytes,
  makeBody,
  makeSink,
  never,
} from '../../../support/bodies.ts';
import {
  createFakeIndex,
  type FakeAttachment,
  type FakeIndex,
} from '../../../support/fake-index.ts';
import { createMemoryStore, type MemoryStore, sideOf } from '../../../support/memory-store.ts';

const FLAT = { rootPath: 'root', structure: 'flat', legacyUnknownFiles: false } as const;

let files: MemoryStore;
let bucket: MemoryStore;
let orthanc: FakeIndex;
let attachments: readonly FakeAttachment[];
let failures: string[];

const legacyKey = (uuid: string) => `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;
const flatKey = ({ uuid, contentType }: FakeAttachment) =>
  `root/${uuid}.${contentType === 1 ? 'dcm' : 'unk'}`;

beforeEach(() => {
  fill(30);
  bucket = createMemoryStore();
  failures = [];
});

function fill(instances: number): void {
  orthanc = createFakeIndex(instances);
  ({ attachments } = orthanc);
  files = createMemoryStore();
  for (const { uuid, bytes } of attachments) files.objects.set(legacyKey(uuid), bytes);
}

/** The first two. */
function pick(): readonly [FakeAttachment, FakeAttachment] {
  const [one, two] = attachments;
  if (one === undefined || two === undefined) throw new Error('none');
  return [one, two];
}

const sides = () => ({
  from: sideOf(files, ORTHANC_NAMING, { isFileSystem: true }),
  to: sideOf(bucket, FLAT),
});

/** Where names tell nothing, and need to tell nothing. */
const legacySides = () => ({ ...sides(), to: sideOf(bucket, ORTHANC_NAMING) });

/** @param index instead of all that Orthanc knows */
async function run(
  pair: Pick<Parameters<typeof migrate>[0], 'from' | 'to'> = sides(),
  options: Partial<MigrateOptions> = {},
  index?: IndexedContents | 'none',
): Promise<MigrateCounts> {
  return await migrate(
    {
      ...pair,
      index: index === 'none' ? undefined : (index ?? (await readIndexedContents(orthanc.api))),
      failed: (key, reason) => failures.push(`${key}: ${reason}`),
      progress: () => undefined,
    },
    {
      atOnce: 4,
      dryRun: false,
      isDone: () => false,
      onDone: () => undefined,
      throttle: () => Promise.resolve(),
      signal: never(),
      ...options,
    },
  );
}

test("Orthanc's index beside its files is called that, and stays where it is", async () => {
  const index = ['index', 'index-wal', 'index-shm'];
  for (const name of [...index, 'lost+found/x', 'index.html'])
    files.objects.set(name, Buffer.alloc(1));
  expect(await run()).toMatchObject({ indexFiles: 3, foreign: 2, copied: attachments.length });
  expect([...bucket.objects.keys()].filter((key) => key.includes('index'))).toEqual([]);
  // In a bucket it is nobody's index.
  bucket.objects.set('index', Buffer.alloc(1));
  const back = { from: legacySides().to, to: sides().from };
  expect(await run(back)).toMatchObject({ indexFiles: 0 });
});

/** As of an Orthanc with StoreMD5ForAttachments false. */
async function readIndexWithoutMd5(): Promise<IndexedContents> {
  const index = await readIndexedContents(orthanc.api);
  return {
    ...index,
    find: (uuid) => {
      const known = index.find(uuid);
      return known && { ...known, md5Hex: undefined };
    },
  };
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

describe('what is there with another content', () => {
  function damageBoth(): void {
    const [one, two] = pick();
    bucket.objects.set(flatKey(one), damage(Buffer.from(one.bytes), 0));
    bucket.objects.set(flatKey(two), Buffer.from('short'));
  }

  test('is replaced where the index says that the source is right', async () => {
    await run();
    damageBoth();
    expect(await run()).toMatchObject({ copied: 2, alreadyThere: 31, differs: 0 });
    expectAll();
  });

  test('is left alone, and counted, where nobody knows which of the two is right', async () => {
    await run();
    damageBoth();
    const before = new Map(bucket.objects);
    expect(await run(sides(), {}, await readIndexWithoutMd5())).toMatchObject({
      copied: 0,
      differs: 2,
      failed: 0,
    });
    expect(bucket.objects).toEqual(before);
    expect(failures[0]).toMatch(/differs: "root\/.*" is there with another content.*--orthanc/);
  });

  test('is left alone without an index, when the file on the disk is damaged', async () => {
    const [one, two] = pick();
    await run(legacySides(), {}, 'none');
    const before = new Map(bucket.objects);
    files.objects.set(legacyKey(one.uuid), damage(Buffer.from(one.bytes), 0));
    files.objects.set(legacyKey(two.uuid), Buffer.alloc(0));
    expect(await run(legacySides(), {}, 'none')).toMatchObject({ copied: 0, differs: 2 });
    expect(bucket.objects).toEqual(before);
  });
});

test('a source that is not what the index says is not taken for copied, where the copy is the same', async () => {
  const [one] = pick();
  files.objects.set(legacyKey(one.uuid), damage(Buffer.from(one.bytes), 0));
  await run(sides(), {}, await readIndexWithoutMd5());
  expect(await run()).toMatchObject({ alreadyThere: 32, failed: 1 });
  expect(failures).toEqual([expect.stringMatching(/INTEGRITY: the source has the MD5/)]);
});

test.each([
  ['is there', true],
  ['is to be made', false],
])('a source that is not what the index says fails, where a copy %s', async (_, isThere) => {
  const [one, two] = pick();
  if (isThere) await run();
  const before = new Map(bucket.objects);
  files.objects.set(legacyKey(one.uuid), damage(Buffer.from(one.bytes), 0));
  files.objects.set(legacyKey(two.uuid), Buffer.alloc(0));
  expect(await run()).toMatchObject({ failed: 2, differs: 0 });
  expect(failures.join()).toMatch(/INTEGRITY: the source has the MD5/);
  expect(failures.join()).toMatch(/INTEGRITY: the source has 0 bytes instead of/);
  for (const attachment of [one, two]) {
    expect(bucket.objects.get(flatKey(attachment))).toBe(before.get(flatKey(attachment)));
  }
});

test('a copy that the target does not have as written at the end is found by the listing', async () => {
  const [lost, short] = attachments;
  if (lost === undefined || short === undefined) throw new Error('none');
  bucket.waitAt((call) => {
    if (call.startsWith('list') && bucket.objects.size > 0) {
      bucket.objects.delete(flatKey(lost));
      bucket.objects.set(flatKey(short), Buffer.from('x'));
    }
    return undefined;
  });
  expect(await run()).toMatchObject({ copied: 31, failed: 2 });
  bucket.waitAt(() => undefined);
  expect(await run()).toMatchObject({ copied: 2, failed: 0 });
  expectAll();
});

test('each copy is read back from a bucket', async () => {
  const [damaged] = attachments;
  if (damaged === undefined) throw new Error('none');
  const key = flatKey(damaged);
  bucket.waitAt((call) => {
    if (call === `get ${key}`) bucket.objects.set(key, Buffer.from(damaged.bytes).fill(0));
    return undefined;
  });
  expect(await run()).toMatchObject({ copied: 32, failed: 1 });
  expect(failures[0]).toMatch(/INTEGRITY: the copy, read back/);
  expect(bucket.objects.has(key)).toBe(false);
});

test('each copy is read back from a file system', async () => {
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
  expect(await run(back)).toMatchObject({ copied: 32, failed: 1 });
  expect(failures[0]).toMatch(/INTEGRITY: the copy, read back/);
  expect(files.objects.size).toBe(32);
});

test('what is read from a bucket is proved by the index, or else by a checksum of the object', async () => {
  await run();
  files.objects.clear();
  const [one] = pick();
  bucket.unproven.add(flatKey(one));
  const { from, to } = sides();
  const back = { from: to, to: from };
  expect(await run(back, {}, 'none')).toMatchObject({ copied: 32, failed: 1 });
  expect(failures).toEqual([expect.stringContaining(`nothing vouches for ${flatKey(one)}`)]);
  expect(files.objects.has(legacyKey(one.uuid))).toBe(false);
  expect(await run(back, {}, await readIndexWithoutMd5())).toMatchObject({ copied: 0, failed: 1 });
  expect(await run(back)).toMatchObject({ copied: 1, failed: 0 });
});

test('a link in the folder is counted and named, and what it leads to stays where it is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
  const store = createFileSystemStore({ folder, isSynchronous: false });
  try {
    const [one, two] = pick();
    for (const { uuid } of [one, two]) {
      await mkdir(dirname(join(folder, legacyKey(uuid))), { recursive: true });
    }
    await writeFile(join(folder, legacyKey(one.uuid)), one.bytes);
    await writeFile(join(folder, 'secret'), two.bytes);
    await symlink(join(folder, 'secret'), join(folder, legacyKey(two.uuid)));
    const from = sideOf(store, ORTHANC_NAMING, { isFileSystem: true });
    expect(await run({ from, to: sideOf(bucket, FLAT) })).toMatchObject({ copied: 1, failed: 1 });
    expect(failures).toEqual([
      expect.stringMatching(new RegExp(`^${legacyKey(two.uuid)}: INTEGRITY: .*symbolic link`)),
    ]);
    expect([...bucket.objects.keys()]).toEqual([flatKey(one)]);
  } finally {
    await store.close();
    await rm(folder, { recursive: true });
  }
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

test('a file that the index does not know, and whose type nobody tells, is left and counted', async () => {
  files.objects.set(legacyKey('aabbccdd-0000-4000-8000-000000000001'), Buffer.from('x'));
  expect(await run()).toMatchObject({ copied: 33, unknown: 1, failed: 0 });
  expectAll();
});

describe('beside a running Orthanc, what it', () => {
  /** Takes the first file away at this moment. */
  function removeAt(moment: (call: string) => boolean, ...removals: (() => void)[]): string {
    const [one] = pick();
    let isOver = false;
    bucket.waitAt((call) => {
      if (!isOver && moment(call)) {
        isOver = true;
        files.objects.delete(legacyKey(one.uuid));
        for (const remove of removals) remove();
      }
      return undefined;
    });
    return one.uuid;
  }
  const isPut = (call: string) => call.startsWith('put') && call.includes(pick()[0].uuid);
  const isLastListing = (call: string) => call.startsWith('list') && bucket.objects.size > 0;
  const forget = () => {
    orthanc.forget(pick()[0].uuid);
  };

  test('deletes during the upload does not come back', async () => {
    const uuid = removeAt(isPut, forget);
    expect(await run()).toMatchObject({ copied: 32, gone: 1, failed: 0 });
    expect([...bucket.objects.keys()].filter((key) => key.includes(uuid))).toEqual([]);
  });

  test('moves during the upload stays where it was moved to', async () => {
    removeAt(isPut);
    expect(await run()).toMatchObject({ copied: 33, gone: 0, failed: 0 });
    expectAll();
  });

  test('removes during the upload is left and named, where no index tells why', async () => {
    const uuid = removeAt(isPut);
    expect(await run(legacySides(), {}, 'none')).toMatchObject({ copied: 32, failed: 1 });
    expect(failures).toEqual([expect.stringMatching(`${uuid}: NOT_FOUND: removed at the source`)]);
    expect(bucket.objects.has(legacyKey(uuid))).toBe(true);
  });

  test('deletes once it was copied is no failure', async () => {
    removeAt(isLastListing, forget, () => bucket.objects.delete(flatKey(pick()[0])));
    expect(await run()).toMatchObject({ copied: 32, gone: 1, failed: 0 });
    bucket.objects.clear();
    fill(30);
    removeAt(isLastListing, () => bucket.objects.delete(legacyKey(pick()[0].uuid)));
    expect(await run(legacySides(), {}, 'none')).toMatchObject({ copied: 32, gone: 1, failed: 0 });
  });

  test('still knows and neither place has, is a failure', async () => {
    const uuid = removeAt(isLastListing, () => bucket.objects.delete(flatKey(pick()[0])));
    expect(await run()).toMatchObject({ copied: 32, gone: 0, failed: 1 });
    expect(failures).toEqual([expect.stringMatching(`^root/${uuid}.dcm: INTEGRITY`)]);
  });
});

describe('a place that fails', () => {
  beforeEach(() => {
    fill(200);
  });

  test('ends the run, instead of failing each object by itself', async () => {
    let puts = 0;
    bucket.failWhen((call) => {
      if (!call.startsWith('put')) return undefined;
      puts += 1;
      return puts > 20 ? 'ACCESS_DENIED' : undefined;
    });
    const running = run();
    await expectFailure(
      running,
      'ACCESS_DENIED',
      /ended after 5\d failures in a row.*put.*run it again/,
    );
    expect(puts).toBeLessThan(80);
  });

  test('now and then does not', async () => {
    bucket.failWhen((call, count) =>
      call.startsWith('put') && count % 3 > 0 ? 'UNAVAILABLE' : undefined,
    );
    const counts = await run();
    expect(counts.failed).toBeGreaterThan(100);
    expect(counts.copied + counts.failed).toBe(attachments.length);
  });
});

test('what is read to be compared is throttled like what is copied', async () => {
  let bytes = 0;
  const throttle = async (more: number) => {
    bytes += more;
  };
  const { copiedBytes } = await run(sides(), { throttle });
  expect(bytes).toBe(copiedBytes);
  expect(await run(sides(), { throttle })).toMatchObject({ alreadyThere: 33 });
  expect(bytes).toBe(2 * copiedBytes);
});

test('a content that happens to begin as an encrypted one is copied where nobody has keys', async () => {
  const uuid = 'aabbccdd-0000-4000-8000-000000000001';
  for (const content of ['A1', `A2 paper, ${'a'.repeat(100)}`]) {
    bucket.objects.set(legacyKey(uuid), Buffer.from(content));
    files.objects.clear();
    const { from, to } = legacySides();
    expect(await run({ from: to, to: from }, {}, 'none')).toMatchObject({ copied: 1, failed: 0 });
    expect(files.objects.get(legacyKey(uuid))?.toString()).toBe(content);
  }
});

test('encrypted objects do not reach the file system as they are', async () => {
  const uuid = 'aabbccdd-0000-4000-8000-000000000001';
  bucket.objects.set(`root/${uuid}.dcm.enc`, Buffer.from('A1......'));
  files.objects.clear();
  const { from, to } = sides();
  expect(await run({ from: to, to: from })).toMatchObject({ copied: 0, failed: 1 });
  const legacy = sideOf(bucket, ORTHANC_NAMING);
  bucket.objects.clear();
  const sealed = Buffer.alloc(100, '.');
  sealed.write('A2\x07\0\0\0');
  bucket.objects.set(legacyKey(uuid), sealed);
  expect(await run({ from: legacy, to: from }, {}, 'none')).toMatchObject({ copied: 0, failed: 1 });
  expect(files.objects.size).toBe(0);
});

describe('a content that begins as an encrypted object', () => {
  const keyring = new Keyring([{ id: 7, key: createSecretKey(randomBytes(32)) }], 7);
  const off = new Envelope({
    keyring,
    createAes,
    format: undefined,
    maxInputBytes: 1024 * 1024,
  });
  let stolen: Uint8Array;
  let key: string;

  /** What a client may have got hold of, attached to an instance of his own. */
  beforeEach(async () => {
    const [one] = pick();
    const store = createMemoryStore();
    const content = makeBody(Buffer.from("somebody else's"));
    const options = { signal: never(), format: 'A1' } as const;
    await off.put(store, 'object', content, { uuid: one.uuid, contentType: 0 }, options);
    stolen = store.objects.get('object') ?? Buffer.alloc(0);
    orthanc = createFakeIndex(30, new Map([[one.uuid, stolen]]));
    ({ attachments } = orthanc);
    key = legacyKey(one.uuid);
    files.objects.set(key, stolen);
  });

  const onDisk = (envelope?: typeof off) =>
    sideOf(files, ORTHANC_NAMING, { isFileSystem: true, ...(envelope && { envelope }) });
  const inBucket = () => sideOf(bucket, ORTHANC_NAMING, { envelope: off });

  async function read({ attachments: place }: ReturnType<typeof sideOf>): Promise<Uint8Array> {
    const sink = makeSink();
    await place.get({ uuid: pick()[0].uuid, contentType: 1 }, undefined, sink, { signal: never() });
    return sink.bytes();
  }

  test('comes back from a bucket whose names do not tell, and from the disk that the plugin reads', async () => {
    const there = { from: onDisk(), to: inBucket() };
    expect(await run(there, {}, 'none')).toMatchObject({ copied: 33, failed: 0 });
    expectSameBytes(await read(there.to), stolen);
    expect(bucket.objects.get(key)).toHaveLength(stolen.length + 86);
    expect(await run(there, {}, 'none')).toMatchObject({ copied: 0, alreadyThere: 33 });
    const done = new Set<string>();
    await run(there, { onDone: (name) => done.add(name) }, 'none');
    expect(await run(there, { isDone: (name) => done.has(name) })).toMatchObject({ skipped: 33 });

    files.objects.clear();
    const back = { from: inBucket(), to: onDisk(off) };
    expect(await run(back)).toMatchObject({ copied: 33, failed: 0 });
    expectSameBytes(await read(back.to), stolen);
    expect(await run(back)).toMatchObject({ copied: 0, alreadyThere: 33 });
  });

  test('lies as it is on a disk that Orthanc alone will read', async () => {
    await run({ from: onDisk(), to: inBucket() }, {}, 'none');
    files.objects.clear();
    const back = { from: inBucket(), to: onDisk() };
    expect(await run(back)).toMatchObject({ copied: 33, failed: 0 });
    expectSameBytes(files.objects.get(key) ?? Buffer.alloc(0), stolen);
    expect(await run(back)).toMatchObject({ copied: 0, alreadyThere: 33 });
  });

  test.each([
    ['on the disk, with keys', () => onDisk(off)],
    ['in a bucket, with keys', inBucket],
    ['in a bucket, without', () => sideOf(bucket, ORTHANC_NAMING)],
  ] as const)(
    'and was stored before there were keys is copied by the size that the index knows: %s',
    async (_name, side) => {
      for (const [name, bytes] of files.objects) bucket.objects.set(name, bytes);
      const target = createMemoryStore();
      const to = sideOf(target, { ...ORTHANC_NAMING, rootPath: 'new' }, { envelope: off });
      expect(await run({ from: side(), to })).toMatchObject({ copied: 33, failed: 0 });
      expectSameBytes(await read(to), stolen);
    },
  );
});

describe.each(['A1', 'A2'] as const)('with encryption %s', (format) => {
  const envelope = new Envelope({
    keyring: new Keyring([{ id: 7, key: createSecretKey(randomBytes(32)) }], 7),
    createAes,
    format,
    maxInputBytes: 1024 * 1024,
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
      // Without the keys nothing goes anywhere. (Of legacy names, only the first bytes tell, and one in 65,536 is taken for plain.)
      if (structure === 'legacy') return;
      files.objects.clear();
      const keyless = sideOf(bucket, { ...FLAT, structure });
      expect(await run({ from: keyless, to: from })).toMatchObject({ copied: 0, failed: 33 });
      expect(files.objects.size).toBe(0);
    },
  );
});

// SPDX-License-Identifier: GPL-3.0-or-later

import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CreateAes } from '../../../src/encryption/aes.ts';
import { Envelope } from '../../../src/encryption/envelope.ts';
import type { Keyring } from '../../../src/encryption/keyring.ts';
import { type EncryptionFormat, SEGMENT_BYTES } from '../../../src/encryption/sizes.ts';
import { StorageError } from '../../../src/errors.ts';
import type { ByteRange, Sink } from '../../../src/store/object-store.ts';
import { createAes } from '../../support/aes.ts';
import {
  damage,
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../../support/bodies.ts';
import {
  createMemoryStore,
  DICOM,
  encrypt,
  KEYRING,
  type MemoryStore,
  OTHER_UUID,
  testKeyring,
  UUID,
} from './support.ts';

const KEY = 'x.dcm.enc';
const IDENTITY = { uuid: UUID, contentType: DICOM };
const MB = 1024 * 1024;

function open(
  format: EncryptionFormat | undefined = 'A2',
  keyring: Keyring = KEYRING,
  maxInputBytes = 64 * MB,
): Envelope {
  return new Envelope({
    keyring,
    createAes,
    format,
    maxInputBytes,
  });
}

async function read(
  store: MemoryStore,
  range?: ByteRange,
  options: { plain?: 'refuse' | 'accept'; envelope?: Envelope; key?: string } = {},
): Promise<Uint8Array> {
  const { plain = 'refuse', envelope = open(), key = KEY } = options;
  const sink = makeSink();
  await envelope.get(store, key, range, sink, IDENTITY, { signal: never(), plain });
  return sink.bytes();
}

async function storeWith(
  format: EncryptionFormat,
  content: Uint8Array,
  options: Parameters<typeof createMemoryStore>[0] = { openRanges: true },
): Promise<MemoryStore> {
  const store = createMemoryStore(options);
  store.objects.set(KEY, await encrypt(format, content));
  return store;
}

describe('put and get', () => {
  test.each(['A1', 'A2'] as const)('%s: one request each', async (format) => {
    const store = createMemoryStore();
    for (const size of [0, 1, 70_000, 2 * MB]) {
      const content = makeBytes(size);
      await open(format).put(store, KEY, makeBody(content), IDENTITY, { signal: never() });
      expect(store.objects.get(KEY)?.toString('latin1', 0, 2)).toBe(format);
      expectSameBytes(await read(store), content);
    }
    expect(store.requests).toHaveLength(8);
  });

  test('no master key: nothing is stored', async () => {
    const store = createMemoryStore();
    const envelope = open('A1', testKeyring(undefined, 1));
    const work = envelope.put(store, KEY, makeBody(makeBytes(1)), IDENTITY, { signal: never() });
    await expectFailure(work, 'BAD_CONFIG');
    expect(store.requests).toEqual([]);
    expect(envelope.format).toBeUndefined();
  });

  test('A1, A2, old keys and plain objects in one bucket', async () => {
    const store = createMemoryStore({ openRanges: true });
    const content = makeBytes(200_000);
    store.objects.set('a1.enc', await encrypt('A1', content));
    store.objects.set('a2.enc', await encrypt('A2', content));
    store.objects.set('old.enc', await encrypt('A2', content, { keyring: testKeyring(3, 3) }));
    store.objects.set('plain', Buffer.from(content));
    for (const [key] of store.objects) {
      const plain = key === 'plain' ? 'accept' : 'refuse';
      expectSameBytes(await read(store, undefined, { key, plain }), content);
      expectSameBytes(
        await read(store, { start: 10, end: 100_000 }, { key, plain }),
        content.subarray(10, 100_000),
      );
    }
    for (const range of [undefined, { start: 1, end: 2 }, { start: 190_000, end: 190_001 }]) {
      await expectFailure(
        read(store, range, { key: 'plain' }),
        'INTEGRITY',
        /"plain".*not encrypted/,
      );
    }
  });

  test('what the store says passes as it is; what the content says names the object', async () => {
    const store = await storeWith('A2', makeBytes(10));
    await expectFailure(read(store, undefined, { key: 'none' }), 'NOT_FOUND');
    await expectFailure(read(store, { start: 0, end: 1 }, { key: 'none' }), 'NOT_FOUND');
    await expectFailure(read(store, { start: 5 * MB, end: 6 * MB }, { key: 'none' }), 'NOT_FOUND');
    const other = read(store, undefined, { envelope: open('A2', testKeyring(3, 3)) });
    const failure = await expectFailure(other, 'UNKNOWN_KEY', /^"x\.dcm\.enc": .*master key 1/);
    expect(failure.key).toBe(KEY);
  });

  test.each(['A1', 'A2'] as const)(
    'of %s, under a key that is not there, no more than the header is fetched',
    async (format) => {
      const store = await storeWith(format, makeBytes(20 * MB));
      const other = { envelope: open('A2', testKeyring(3, 3)) };
      await expectFailure(read(store, undefined, other), 'UNKNOWN_KEY');
      expect(store.sentBytes()).toBeLessThan(MB);
    },
  );

  test.each(['A1', 'A2'] as const)(
    'of %s, keys are wiped also where the content has no place',
    async (format) => {
      const store = await storeWith(format, makeBytes(100));
      const unwiped = new Set<object>();
      const counted = <Cipher extends { wipe(): void }>(cipher: Cipher): Cipher => {
        unwiped.add(cipher);
        const wipe = cipher.wipe.bind(cipher);
        const value = () => {
          unwiped.delete(cipher);
          wipe();
        };
        return Object.defineProperty(cipher, 'wipe', { value });
      };
      const counting: CreateAes = (mode, key) => counted(createAes(mode, key));
      const envelope = new Envelope({
        keyring: KEYRING,
        createAes: counting,
        format: 'A2',
        maxInputBytes: MB,
      });
      const noRoom: Sink = {
        begin: () => {
          throw new StorageError('INTERNAL', 'no memory');
        },
        write: () => undefined,
      };
      const options = { signal: never(), plain: 'refuse' } as const;
      const work = envelope.get(store, KEY, undefined, noRoom, IDENTITY, options);
      await expectFailure(work, 'INTERNAL');
      expect(unwiped.size).toBe(0);
      await envelope.get(store, KEY, undefined, makeSink(), IDENTITY, options);
      await envelope.put(store, KEY, makeBody(makeBytes(2 * MB)), IDENTITY, options);
      expect(unwiped.size).toBe(0);
    },
  );

  test('objects that changed their names', async () => {
    const store = await storeWith('A2', makeBytes(10));
    const sink = makeSink();
    const identity = { uuid: OTHER_UUID, contentType: DICOM };
    const options = { signal: never(), plain: 'accept' } as const;
    await expectFailure(open().get(store, KEY, undefined, sink, identity, options), 'INTEGRITY');
  });
});

describe('ranges', () => {
  const SIZE = 10 * SEGMENT_BYTES + 5000;
  const content = makeBytes(SIZE);

  test.each([
    // The header of a DICOM file: /tags.
    [{ start: 0, end: 750 }, [`get ${KEY} 0-65605`]],
    [{ start: 0, end: SEGMENT_BYTES }, [`get ${KEY} 0-65622`]],
    [{ start: 70_000, end: 70_001 }, [`get ${KEY} 0-131157`]],
    [{ start: 0, end: SIZE }, [`get ${KEY} 0-721125`]],
    [{ start: 300_000, end: 300_010 }, [`get ${KEY} 0-53`, `get ${KEY} 262261-327813`]],
    [{ start: SIZE - 1, end: SIZE }, [`get ${KEY} 0-53`, `get ${KEY} 655573-660589`]],
    [{ start: 327_680, end: SIZE }, [`get ${KEY} 0-53`, `get ${KEY} 327813-660589`]],
  ])('%o of A2', async (range, requests) => {
    const store = await storeWith('A2', content);
    expectSameBytes(await read(store, range), content.subarray(range.start, range.end));
    expect(store.requests).toEqual(requests);
  });

  test('A1 is read whole, in one request where the range is the content', async () => {
    const store = await storeWith('A1', content);
    expectSameBytes(await read(store, { start: 0, end: SIZE }), content);
    expect(store.requests).toHaveLength(1);
    expectSameBytes(await read(store, { start: 5, end: 10 }), content.subarray(5, 10));
    expect(store.requests.slice(1)).toEqual([`get ${KEY} 0-65605`, `get ${KEY}`]);
    const end = SIZE - 1;
    expectSameBytes(await read(store, { start: end, end: SIZE }), content.subarray(end));
    expect(store.requests.slice(3)).toEqual([`get ${KEY} 0-53`, `get ${KEY}`]);
  });

  test.each([SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES])(
    'A1 of %i bytes, all of it as a range: one request',
    async (size) => {
      const store = await storeWith('A1', content.subarray(0, size));
      expectSameBytes(await read(store, { start: 0, end: size }), content.subarray(0, size));
      expect(store.requests).toHaveLength(1);
    },
  );

  test('A1 that was altered anywhere gives no part of itself', async () => {
    const store = await storeWith('A1', content);
    damage(store.objects.get(KEY), 500_000);
    await expectFailure(read(store, { start: 5, end: 10 }), 'INTEGRITY');
  });

  test('a store that knows no open ranges costs another request, near the end of an object', async () => {
    const store = await storeWith('A2', content.subarray(0, 1000), {});
    expectSameBytes(await read(store, { start: 1, end: 2 }), content.subarray(1, 2));
    expect(store.requests).toEqual([`get ${KEY} 0-65605`, `get ${KEY}`]);
  });

  test('any range of any object, whatever the store knows', async () => {
    const kind = fc.constantFrom('A1' as const, 'A2' as const, 'plain' as const);
    await fc.assert(
      fc.asyncProperty(
        kind,
        fc.oneof(fc.nat(300), fc.nat(8 * SEGMENT_BYTES), fc.constantFrom(SEGMENT_BYTES, 327_680)),
        fc.nat(),
        fc.nat(),
        fc.boolean(),
        fc.integer({ min: 1, max: 100_000 }),
        async (format, size, a, b, openRanges, pieceBytes) => {
          const whole = content.subarray(0, size);
          const store = createMemoryStore({ openRanges, pieceBytes });
          const object = format === 'plain' ? Buffer.from(whole) : await encrypt(format, whole);
          store.objects.set(KEY, object);
          const plain = format === 'plain' ? 'accept' : 'refuse';
          const start = a % (size + 1);
          const end = start + 1 + (b % (size - start + 1));
          if (end > size) {
            await expectFailure(read(store, { start, end }, { plain }), 'BAD_RANGE');
          } else {
            const bytes = await read(store, { start, end }, { plain });
            expectSameBytes(bytes, whole.subarray(start, end));
          }
          expect(store.requests.length).toBeLessThanOrEqual(2);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('only what was asked for is decrypted and handed on', async () => {
    const store = await storeWith('A2', content);
    const object = store.objects.get(KEY);
    // Segments outside of the range may be broken.
    object?.fill(0, 53, 53 + 65_552);
    object?.fill(0, 53 + 2 * 65_552);
    const range = { start: SEGMENT_BYTES + 7, end: 2 * SEGMENT_BYTES };
    expectSameBytes(await read(store, range), content.subarray(range.start, range.end));
    await expectFailure(read(store, { start: SEGMENT_BYTES - 1, end: SEGMENT_BYTES }), 'INTEGRITY');
    await expectFailure(read(store, { start: 300_000, end: 300_001 }), 'INTEGRITY');
  });

  describe('an object that is replaced between the two requests of a range', () => {
    const wanted = { start: 300_000, end: 300_100 };

    /** As rekey does. */
    async function replaceAfterEachGet(formats: readonly EncryptionFormat[]) {
      const store = await storeWith('A2', content);
      const others = await Promise.all(formats.map((format) => encrypt(format, content)));
      const replacing: MemoryStore = {
        ...store,
        async get(key, range, sink, options) {
          await store.get(key, range, sink, options);
          const other = others.shift();
          if (other !== undefined) store.objects.set(KEY, other);
        },
      };
      return replacing;
    }

    test.each(['A1', 'A2'] as const)('once, as %s, is read all the same', async (format) => {
      const store = await replaceAfterEachGet([format]);
      expectSameBytes(await read(store, wanted), content.subarray(wanted.start, wanted.end));
    });

    test('again and again is given up', async () => {
      const store = await replaceAfterEachGet(['A2', 'A2', 'A2', 'A2']);
      await expectFailure(read(store, wanted), 'INTEGRITY');
      expect(store.requests).toHaveLength(4);
    });

    test('and one that was altered costs a look at its header, not another try', async () => {
      const store = await storeWith('A2', content);
      store.objects.get(KEY)?.fill(1, 300_200, 300_210);
      await expectFailure(read(store, wanted), 'INTEGRITY');
      expect(store.requests).toHaveLength(3);
    });
  });
});

describe('a store', () => {
  test('that begins again after half an object', async () => {
    const content = makeBytes(200_000);
    for (const format of ['A1', 'A2'] as const) {
      const store = await storeWith(format, content);
      const stuttering: MemoryStore = {
        ...store,
        async get(key, range, sink, options) {
          // A transfer that a flipped bit on the way made worthless.
          sink.begin(200, 200_000);
          sink.write(0, makeBytes(200));
          await store.get(key, range, sink, options);
        },
      };
      expectSameBytes(await read(stuttering), content);
      expectSameBytes(await read(stuttering, { start: 0, end: 9 }), content.subarray(0, 9));
    }
  });

  test('that sends too little without a word', async () => {
    const store = await storeWith('A2', makeBytes(100));
    const silent: MemoryStore = {
      ...store,
      async get(_key, _range, sink) {
        sink.begin(169, 169);
        sink.write(0, Buffer.from('A2'));
      },
    };
    await expectFailure(read(silent), 'SHORT_BODY');
  });

  test('whose failure is the answer', async () => {
    const store = await storeWith('A2', makeBytes(100));
    const broken: MemoryStore = {
      ...store,
      async get(_key, _range, sink) {
        sink.begin(169, 169);
        throw new StorageError('UNAVAILABLE', 'gone');
      },
    };
    await expectFailure(read(broken), 'UNAVAILABLE');
  });
});

describe('MaxConcurrentInputSize', () => {
  test('64 reads and writes of mixed sizes at a limit of 1 MB', async () => {
    const envelope = open('A2', KEYRING, MB);
    const store = createMemoryStore({ openRanges: true, delay: () => setImmediate() });
    let inFlight = 0;
    let mostBytes = 0;
    let mostAtOnce = 0;
    const watch = () => {
      mostAtOnce = Math.max(mostAtOnce, inFlight);
      mostBytes = Math.max(mostBytes, envelope.bytesInProcess);
    };
    const watched: MemoryStore = {
      ...store,
      async put(key, body, options) {
        inFlight += 1;
        watch();
        await store.put(key, body, options);
        inFlight -= 1;
      },
    };
    const sizes = Array.from(
      { length: 64 },
      (_, index) => [0, 5_000, 300_000, 2 * MB][index % 4] ?? 0,
    );
    const contents = sizes.map((size, index) => makeBytes(size, index + 1));
    const put = (index: number) =>
      envelope.put(watched, `${index}`, makeBody(contents[index] ?? makeBytes(0)), IDENTITY, {
        signal: never(),
      });
    await Promise.all(contents.map((_, index) => put(index)));
    const get = async (index: number) => {
      const content = contents[index] ?? makeBytes(0);
      const sink = makeSink();
      const gauge: Sink = {
        begin: (sizeBytes, totalBytes) => {
          watch();
          sink.begin(sizeBytes, totalBytes);
        },
        write: (offset, bytes) => {
          sink.write(offset, bytes);
        },
      };
      const range =
        index % 3 === 0 && content.length > 0 ? { start: 0, end: content.length } : undefined;
      const options = { signal: never(), plain: 'refuse' } as const;
      await envelope.get(store, `${index}`, range, gauge, IDENTITY, options);
      expectSameBytes(sink.bytes(), content);
    };
    await Promise.all(contents.flatMap((_, index) => [get(index), put(index)]));
    expect(envelope.bytesInProcess).toBe(0);
    expect(mostBytes).toBeLessThanOrEqual(MB);
    expect(mostAtOnce).toBeGreaterThan(1);
  });

  test('whoever gives up while waiting leaves nothing behind', async () => {
    const envelope = open('A1', KEYRING, 1000);
    const store = createMemoryStore();
    let release: () => void = () => undefined;
    const held: MemoryStore = {
      ...store,
      put: () =>
        new Promise((resolve) => {
          release = resolve;
        }),
    };
    const first = envelope.put(held, 'a', makeBody(makeBytes(900)), IDENTITY, { signal: never() });
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const second = envelope.put(store, 'b', makeBody(makeBytes(900)), IDENTITY, options);
    await setImmediate();
    controller.abort();
    await expectFailure(second, 'ABORTED');
    expect(store.requests).toEqual([]);
    await setImmediate();
    release();
    await first;
    expect(envelope.bytesInProcess).toBe(0);
  });

  test('failures give back what they held', async () => {
    const envelope = open('A2', KEYRING, 1000);
    const store = await storeWith('A2', makeBytes(5000));
    damage(store.objects.get(KEY), 1000);
    for (let run = 0; run < 3; run++) {
      await expectFailure(read(store, undefined, { envelope }), 'INTEGRITY');
      await expectFailure(read(store, { start: 0, end: 10 }, { envelope }), 'INTEGRITY');
      await expectFailure(read(store, undefined, { envelope, key: 'none' }), 'NOT_FOUND');
    }
    expect(envelope.bytesInProcess).toBe(0);
  });
});

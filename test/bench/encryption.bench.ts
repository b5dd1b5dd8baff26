// SPDX-License-Identifier: GPL-3.0-or-later
// One round of encryption.mjs, which bundles this. Prints one JSON object.

import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import { DecryptingSink } from '../../src/encryption/decrypting-sink.ts';
import { encryptBody } from '../../src/encryption/encrypted-body.ts';
import { Envelope } from '../../src/encryption/envelope.ts';
import { Keyring } from '../../src/encryption/keyring.ts';
import { Pacer } from '../../src/encryption/pacer.ts';
import { type EncryptionFormat, TAG_BYTES } from '../../src/encryption/sizes.ts';
import { bodyFrom } from '../../src/store/bodies.ts';
import type { Body, ObjectStore, Sink } from '../../src/store/object-store.ts';
import { chooseAes } from '../support/aes.ts';

const MB = 1024 * 1024;
const INSTANCE_BYTES = 500_000;
/** Goes in one request, from its start to its end. */
const LARGE_BYTES = 50 * MB;
/** Goes in parts. */
const HUGE_BYTES = 100 * MB;
/** Fits into the processor's cache, where pieces of a download are that the socket has just received. */
const CACHED_BYTES = 8 * MB;
const SEGMENT_BYTES = 65_536;
const SOCKET_BYTES = 65_536;
const PIECE_BYTES = 256 * 1024;
const MEASURE_MS = 400;
const LOAD_MS = 3_000;

const UUID = 'e1f2a3b4-0000-4000-8000-0123456789ab';
const MASTER = { id: 1, key: createSecretKey(randomBytes(32)) };
const KEYRING = new Keyring([MASTER], MASTER.id);
const { signal } = new AbortController();
const pacer = new Pacer();
const block = randomBytes(MB);
const piece = Buffer.allocUnsafeSlow(PIECE_BYTES);

/** Contents are the same 1 MB over and over. Here it goes on far enough for a piece to lie in it as a whole. */
const repeated = Buffer.concat([block, block.subarray(0, PIECE_BYTES)]);

/** @returns undefined for more than a piece that crosses into the next megabyte */
function contentAt(start: number, lengthBytes: number): Uint8Array | undefined {
  const from = start % MB;
  const end = from + lengthBytes;
  return end <= repeated.length ? repeated.subarray(from, end) : undefined;
}

/** As the plugin has them for contents in Orthanc's memory. */
const createAes = chooseAes({
  update(aes, _content, start, target) {
    const found = contentAt(start, target.length);
    if (found !== undefined) aes.update(found, target);
    return found !== undefined;
  },
  sealMessage(aes, nonce, additional, _content, start, target) {
    const found = contentAt(start, target.length - TAG_BYTES);
    if (found !== undefined) aes.sealMessage(nonce, additional, found, target);
    return found !== undefined;
  },
});

/** As the bridge does it: into memory of the reader's. */
function bodyOf(sizeBytes: number): Body {
  const readInto = (start: number, target: Uint8Array) => {
    for (let at = 0; at < target.length; ) {
      const from = (start + at) % MB;
      const part = block.subarray(from, from + target.length - at);
      target.set(part, at);
      at += part.length;
    }
  };
  return bodyFrom(sizeBytes, readInto);
}

const nowhere: Sink = { begin: () => undefined, write: () => undefined };

async function encrypt(format: EncryptionFormat, sizeBytes: number): Promise<void> {
  const target = { format, master: MASTER, uuid: UUID, contentType: 1, createAes };
  const body = await encryptBody(bodyOf(sizeBytes), target, pacer, signal);
  // Small ones have been encrypted by now.
  for (let start = 0; sizeBytes > MB && start < body.sizeBytes; start += PIECE_BYTES) {
    body.readInto(start, piece.subarray(0, Math.min(PIECE_BYTES, body.sizeBytes - start)));
  }
  body.wipe();
}

async function objectOf(format: EncryptionFormat, sizeBytes: number): Promise<Uint8Array> {
  const target = { format, master: MASTER, uuid: UUID, contentType: 1, createAes };
  const body = await encryptBody(bodyOf(sizeBytes), target, pacer, signal);
  return body.read(0, body.sizeBytes);
}

function decrypt(object: Uint8Array): void {
  const sink = new DecryptingSink(
    nowhere,
    {
      find: (id) => KEYRING.find(id),
      hasKey: (id) => KEYRING.ids.includes(id),
      createAes,
      identity: { uuid: UUID, contentType: 1 },
      plain: 'refuse',
      wanted: undefined,
    },
    { start: 0, header: undefined },
  );
  sink.begin(object.length, object.length);
  for (let at = 0; at < object.length; at += SOCKET_BYTES) {
    sink.write(at, object.subarray(at, at + SOCKET_BYTES));
  }
  sink.finish();
}

/** @returns MB/s of this process's CPU time */
async function measure(sizeBytes: number, work: () => Promise<void> | void): Promise<number> {
  for (let run = 0; run < 3; run++) await work();
  let best = 0;
  for (let round = 0; round < 4; round++) {
    const { user, system } = process.cpuUsage();
    const startedMs = performance.now();
    let bytes = 0;
    while (performance.now() - startedMs < MEASURE_MS) {
      await work();
      bytes += sizeBytes;
    }
    const used = process.cpuUsage();
    best = Math.max(best, bytes / (used.user - user + used.system - system));
  }
  return best;
}

/** What node:crypto itself makes of it: the ceiling for what is built on it. */
function nodeAlone(): void {
  const key = MASTER.key;
  const nonce = Buffer.alloc(12);
  for (let at = 0; at < MB; at += SEGMENT_BYTES) {
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.update(block.subarray(at, at + SEGMENT_BYTES));
    cipher.final();
    cipher.getAuthTag();
  }
}

function nodeAloneBack(): void {
  const key = MASTER.key;
  const nonce = Buffer.alloc(12);
  for (let at = 0; at < MB; at += SEGMENT_BYTES) {
    const decipher = createDecipheriv('aes-256-gcm', key, nonce);
    decipher.update(block.subarray(at, at + SEGMENT_BYTES));
  }
}

interface LoopDelays {
  /** Of monitorEventLoopDelay: other processes on the machine add to it. */
  readonly maxDelayMs: number;
  /** CPU time of this process, its collector's threads included, in one turn of the loop: what the loop was held up by ourselves. */
  readonly maxTurnCpuMs: number;
  /** As maxDelayMs, of a loop that does next to nothing: what the machine adds. */
  readonly idleMaxDelayMs: number;
}

/** How long a loop full of encryption did not turn. */
async function loopDelays(): Promise<LoopDelays> {
  const envelopes = (['A1', 'A2'] as const).map(
    (format) =>
      new Envelope({
        keyring: KEYRING,
        createAes,
        format,
        maxInputBytes: 1024 * MB,
      }),
  );
  const objects = await Promise.all([objectOf('A1', LARGE_BYTES), objectOf('A2', LARGE_BYTES)]);
  const store = createStore(objects);
  const options = { signal, plain: 'refuse' } as const;
  const identity = { uuid: UUID, contentType: 1 };
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const clients = envelopes.flatMap((envelope, format) => [
    ...Array.from({ length: 24 }, () => async () => {
      await envelope.put(store, 'small', bodyOf(INSTANCE_BYTES), identity, { signal });
    }),
    ...Array.from({ length: 4 }, () => async () => {
      await envelope.put(store, 'large', bodyOf(LARGE_BYTES), identity, { signal });
    }),
    ...Array.from({ length: 4 }, () => async () => {
      await envelope.get(store, String(format), undefined, nowhere, identity, options);
    }),
  ]);
  const idleMaxDelayMs = await idleDelay();
  let maxTurnMicroseconds = 0;
  const watchTurns = async () => {
    let before = cpuMicroseconds();
    while (performance.now() < endMs) {
      await setImmediate();
      const now = cpuMicroseconds();
      maxTurnMicroseconds = Math.max(maxTurnMicroseconds, now - before);
      before = now;
    }
  };
  const endMs = performance.now() + LOAD_MS;
  delay.enable();
  await Promise.all([
    watchTurns(),
    ...clients.map(async (client) => {
      while (performance.now() < endMs) {
        await client();
        // As Orthanc's threads come: several in one turn of the loop.
        await setImmediate();
      }
    }),
  ]);
  delay.disable();
  return {
    maxDelayMs: delay.max / 1e6,
    maxTurnCpuMs: maxTurnMicroseconds / 1000,
    idleMaxDelayMs,
  };
}

async function idleDelay(): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const endMs = performance.now() + LOAD_MS;
  delay.enable();
  while (performance.now() < endMs) await setImmediate();
  delay.disable();
  return delay.max / 1e6;
}

function cpuMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Takes and gives bodies as the providers do: a piece at a time, the loop turning between. */
function createStore(objects: readonly Uint8Array[]): ObjectStore {
  return {
    async put(_key, body) {
      for (let start = 0; start < body.sizeBytes; start += PIECE_BYTES) {
        const length = Math.min(PIECE_BYTES, body.sizeBytes - start);
        body.readInto(start, piece.subarray(0, length));
        await setImmediate();
      }
    },
    async get(key, _range, sink) {
      const object = objects[Number(key)] ?? new Uint8Array();
      sink.begin(object.length, object.length);
      for (let at = 0; at < object.length; at += SOCKET_BYTES) {
        sink.write(at, object.subarray(at, at + SOCKET_BYTES));
        await setImmediate();
      }
    },
    head: async () => undefined,
    delete: async () => undefined,
    async *list() {},
    check: async () => undefined,
    close: async () => undefined,
  };
}

async function main(): Promise<void> {
  const speeds: Record<string, number> = {
    'node:crypto alone, 64 KiB, encrypt': await measure(MB, nodeAlone),
    'node:crypto alone, 64 KiB, decrypt': await measure(MB, nodeAloneBack),
  };
  for (const format of ['A1', 'A2'] as const) {
    const small = await objectOf(format, INSTANCE_BYTES);
    const cached = await objectOf(format, CACHED_BYTES);
    const large = await objectOf(format, LARGE_BYTES);
    Object.assign(speeds, {
      [`${format} encrypt, instances of 500 kB`]: await measure(INSTANCE_BYTES, () =>
        encrypt(format, INSTANCE_BYTES),
      ),
      [`${format} encrypt, 50 MB`]: await measure(LARGE_BYTES, () => encrypt(format, LARGE_BYTES)),
      [`${format} encrypt, 100 MB`]: await measure(HUGE_BYTES, () => encrypt(format, HUGE_BYTES)),
      [`${format} decrypt, instances of 500 kB`]: await measure(INSTANCE_BYTES, () =>
        decrypt(small),
      ),
      [`${format} decrypt, 8 MB, in the cache`]: await measure(CACHED_BYTES, () => decrypt(cached)),
      [`${format} decrypt, 50 MB, from memory`]: await measure(LARGE_BYTES, () => decrypt(large)),
    });
  }
  process.stdout.write(JSON.stringify({ speeds, ...(await loopDelays()) }));
}

void main();

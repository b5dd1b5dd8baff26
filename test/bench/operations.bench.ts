// SPDX-License-Identifier: GPL-3.0-or-later
// One measurement in one process: what a small operation costs the event loop. Started by operations.mjs, which bundles it and makes the
// table. Arguments: provider (s3, azure, google), how much of the way (transport, provider, plugin; a1 and a2: the plugin with encryption),
// operation (create, tags, remove), bytes of the content, the server's bundle.

import { fork } from 'node:child_process';
import { createSecretKey } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { getHeapStatistics } from 'node:v8';
import { createAttachmentStore } from '../../src/attachments/attachments.ts';
import { createNodeAes } from '../../src/encryption/aes.ts';
import { Envelope } from '../../src/encryption/envelope.ts';
import { Keyring } from '../../src/encryption/keyring.ts';
import { createTransport } from '../../src/http/transport.ts';
import { createLogger } from '../../src/log.ts';
import { type Binding, RequestServer, writeLog } from '../../src/plugin/bridge.ts';
import { Counters } from '../../src/plugin/figures.ts';
import { createRequestHandler } from '../../src/plugin/requests.ts';
import { bodyOf, NOWHERE } from '../../src/store/bodies.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import { withLimit } from '../../src/store/limit.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { Secret } from '../../src/text/secret.ts';
import { NETWORK } from '../support/settings.ts';
import { createStore } from './stores.ts';

const WARM_UP_OPERATIONS = 3_000;
const SPELLS = 10;
const SPELL_OPERATIONS = 1_000;
/** Fewer operations than fill V8's young generation, so that the heap's growth is what they allocated. */
const ALLOCATION_OPERATIONS = 100;
const ALLOCATION_ROUNDS = 5;
const TAGS_BYTES = 4_096;
const SECRET_KEY = Buffer.alloc(64, 'key').toString('base64');
const UUID = '01234567-89ab-4cde-8f01-23456789abcd';
const KEY = `${UUID}.dcm`;

type Name = 'create' | 'tags' | 'remove';
type Operations = Readonly<Record<Name, () => Promise<void>>>;

const [provider = '', way = '', name = '', bytesText = '', serverBundle = ''] =
  process.argv.slice(2);
const content = Buffer.alloc(Number(bytesText), 'content of no meaning ');
const { signal } = new AbortController();

function operationsOf(store: ObjectStore): Operations {
  return {
    create: () => store.put(KEY, bodyOf(content), { signal }),
    tags: () => store.get(KEY, { start: 0, end: TAGS_BYTES }, NOWHERE, { signal }),
    remove: () => store.delete(KEY, { signal }),
  };
}

/** What the provider sent for the operation, again and again. */
async function ofTransport(endpoint: string): Promise<Operations> {
  const transport = createTransport(NETWORK);
  const headers = { host: endpoint.slice('http://'.length) };
  const send = (method: 'PUT' | 'GET' | 'DELETE', more: Record<string, string> = {}) =>
    transport.exchange({
      origin: endpoint,
      method,
      path: `/bucket/${KEY}`,
      headers: { ...headers, ...more },
      content: method === 'PUT' ? bodyOf(content) : undefined,
      receive:
        method === 'GET' ? () => ({ write: () => undefined, end: () => undefined }) : undefined,
      signal,
    });
  await send('PUT', { 'content-length': String(content.length) });
  return {
    create: async () => {
      await send('PUT', { 'content-length': String(content.length) });
    },
    tags: async () => {
      await send('GET', { range: `bytes=0-${TAGS_BYTES - 1}` });
    },
    remove: async () => {
      await send('DELETE');
    },
  };
}

function envelopeFor(way: string): Envelope | undefined {
  const format = way === 'a1' ? 'A1' : way === 'a2' ? 'A2' : undefined;
  if (format === undefined) return undefined;
  const keyring = new Keyring([{ id: 1, key: createSecretKey(Buffer.alloc(32, 7)) }], 1);
  return new Envelope({ keyring, createAes: createNodeAes, format, maxInputBytes: 2 ** 30 });
}

/** From the shim's call to its answer, with a shim that does nothing. */
function ofPlugin(store: ObjectStore): Operations {
  const limited = withDeadline(withLimit(store, NETWORK.maxConnections), NETWORK.requestTimeoutMs);
  const naming = { rootPath: '', structure: 'flat', legacyUnknownFiles: false } as const;
  const attachments = createAttachmentStore({
    store: limited,
    naming,
    envelope: envelopeFor(way),
  });
  type Handlers = Parameters<Binding['start']>[0];
  let handlers: Handlers | undefined;
  let end: (code: number) => void = () => undefined;
  const unused = () => undefined;
  const binding = {
    orthancErrorCodes: {},
    start: (given: Handlers) => {
      handlers = given;
    },
    ready: unused,
    log: unused,
    readInto: (_id: number, offset: number, target: Uint8Array) => {
      target.set(content.subarray(offset, offset + target.length));
    },
    allocate: unused,
    write: unused,
    complete: (_id: number, code: number) => {
      end(code);
    },
  } as unknown as Binding;
  const secrets = [new Secret(SECRET_KEY)];
  const log = createLogger(
    (level, line) => {
      writeLog(binding, level, line);
    },
    () => secrets,
  );
  const storage = createRequestHandler({
    attachments,
    log,
    counters: new Counters(),
    provider: 'bench',
  });
  new RequestServer(binding, { storage } as ConstructorParameters<typeof RequestServer>[1]).start(
    {} as Parameters<RequestServer['start']>[0],
  );
  let id = 0;
  const operate = (operation: number, rangeEnd: number) =>
    new Promise<void>((resolve, reject) => {
      end = (code) => {
        if (code === 0) resolve();
        else reject(new Error(`failed: ${code}`));
      };
      id += 1;
      handlers?.onRequest(id, operation, UUID, 1, content.length, 0, rangeEnd);
    });
  return {
    create: () => operate(0, 0),
    tags: () => operate(2, TAGS_BYTES),
    remove: () => operate(3, 0),
  };
}

/** Of this thread, which is the event loop's. @see proc_pid_schedstat: nanoseconds */
function loopCpuUs(): number {
  const [ns] = readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ');
  return Number(ns) / 1_000;
}

/** @returns microseconds of each operation, in the best of many short spells: other work on the machine disturbs the others */
async function leastUs(operate: () => Promise<void>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let spell = 0; spell < SPELLS; spell += 1) {
    const cpuUs = loopCpuUs();
    for (let index = 0; index < SPELL_OPERATIONS; index += 1) await operate();
    least = Math.min(least, (loopCpuUs() - cpuUs) / SPELL_OPERATIONS);
  }
  return least;
}

async function allocatedBytes(operate: () => Promise<void>): Promise<number> {
  const rounds: number[] = [];
  for (let round = 0; round < ALLOCATION_ROUNDS; round += 1) {
    globalThis.gc?.();
    const before = getHeapStatistics().used_heap_size;
    for (let index = 0; index < ALLOCATION_OPERATIONS; index += 1) await operate();
    rounds.push((getHeapStatistics().used_heap_size - before) / ALLOCATION_OPERATIONS);
  }
  return rounds.sort((a, b) => a - b)[ALLOCATION_ROUNDS >> 1] ?? 0;
}

async function main(): Promise<void> {
  const server = fork(serverBundle, [provider], { execArgv: [] });
  const [endpoint] = (await once(server, 'message')) as [string];
  const store = createStore({
    provider,
    endpoint,
    bucket: 'bucket',
    accessKey: 'account',
    secretKey: SECRET_KEY,
    authorities: '',
    serviceAccountFile: undefined,
  });
  const operations =
    way === 'transport'
      ? await ofTransport(endpoint)
      : way === 'provider'
        ? operationsOf(store)
        : ofPlugin(store);
  const operate = operations[name as Name];
  await operations.create();
  for (let index = 0; index < WARM_UP_OPERATIONS; index += 1) await operate();
  const us = await leastUs(operate);
  const bytes = await allocatedBytes(operate);
  process.stdout.write(`${JSON.stringify({ us, bytes })}\n`);
  process.exit(0);
}

void main();

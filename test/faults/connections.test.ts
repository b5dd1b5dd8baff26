// SPDX-License-Identifier: GPL-3.0-or-later
// What becomes of connections: how many there are, which are used again, and what a server or an abort may do to one at any moment.

import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { NetworkSettings } from '../../src/config/settings.ts';
import { createTransport, type ExchangeRequest } from '../../src/http/transport.ts';
import { bodyOf } from '../../src/store/bodies.ts';
import { makeBytes } from '../support/bodies.ts';
import { hang, type Step, startScriptedServer } from '../support/scripted-server.ts';
import { NETWORK } from '../support/settings.ts';
import { useClosing } from './bench.ts';

const MIB = 1024 * 1024;
const closing = useClosing();

async function start(changes: Partial<NetworkSettings> = {}) {
  const server = closing(await startScriptedServer());
  const transport = closing(createTransport({ ...NETWORK, maxRetries: 0, ...changes }));
  const send = (request: Partial<ExchangeRequest> = {}) =>
    transport.exchange({
      origin: server.endpoint,
      method: request.content === undefined ? 'GET' : 'PUT',
      path: '/bucket/key',
      headers: {},
      ...request,
    });
  return { server, transport, send };
}

const ok: Step = async ({ readBody, response }) => {
  response.end(`${(await readBody()).length}`);
};

/** An answer as it goes over the wire. */
const raw =
  (...pieces: readonly string[]): Step =>
  async ({ readBody, socket }) => {
    await readBody();
    for (const piece of pieces) {
      socket.write(piece);
      // Each in a segment of its own.
      await setTimeout(2);
    }
  };

const text = ({ body }: { readonly body: Uint8Array }) => Buffer.from(body).toString();

describe('connections', () => {
  test('are as many as allowed; what is beyond waits, and all is answered', async () => {
    const { server, send } = await start({ maxConnections: 3 });
    let most = 0;
    server.always(async (exchange) => {
      most = Math.max(most, server.openSockets());
      await setTimeout(5);
      await ok(exchange);
    });
    const answers = await Promise.all(Array.from({ length: 30 }, () => send()));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 30 }, () => 200));
    expect([most, server.openSockets()]).toEqual([3, 3]);
  });

  test('are used again, unless the server says otherwise', async () => {
    const { server, send } = await start();
    const sockets = new Set<Socket>();
    const note =
      (headers: Readonly<Record<string, string>> = {}): Step =>
      async (exchange) => {
        sockets.add(exchange.socket);
        for (const [name, value] of Object.entries(headers))
          exchange.response.setHeader(name, value);
        await ok(exchange);
      };
    for (const step of [note(), note(), note({ connection: 'close' }), note(), note()]) {
      server.script(step);
      await send();
    }
    expect(sockets.size).toBe(2);
    server.script(note({ 'keep-alive': 'timeout=1' }), note());
    await send();
    await send();
    expect(sockets.size).toBe(3);
  });

  test('are given up before the time that the server promises is over', async () => {
    const { server, send } = await start();
    server.script(async (exchange) => {
      exchange.response.setHeader('keep-alive', 'timeout=4');
      await ok(exchange);
    });
    await send();
    expect(server.openSockets()).toBe(1);
    await expect.poll(() => server.openSockets(), { timeout: 3_500 }).toBe(0);
  });

  test('that died while nothing was asked are passed over', async () => {
    const { server, send } = await start({ maxConnections: 1 });
    for (const end of [
      (socket: Socket) => socket.end(),
      (socket: Socket) => socket.resetAndDestroy(),
    ]) {
      let connection: Socket | undefined;
      server.script((exchange) => {
        connection = exchange.socket;
        return ok(exchange);
      }, ok);
      await send();
      if (connection !== undefined) end(connection);
      await expect.poll(() => server.openSockets()).toBe(0);
      // The client hears of a reset in its next turn.
      for (let turn = 0; turn < 3; turn++) await setImmediate();
      expect(await send()).toMatchObject({ status: 200 });
    }
  });

  test('that a request finds dying fail it, so that it is sent again', async () => {
    const { server, send } = await start({ maxConnections: 1 });
    for (const end of [
      (socket: Socket) => socket.end(),
      (socket: Socket) => socket.resetAndDestroy(),
    ]) {
      server.script(ok, ({ socket }) => {
        end(socket);
      });
      await send();
      await expect(send()).rejects.toMatchObject({ transient: true });
    }
  });
});

describe('answers', () => {
  const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

  test.each([
    [
      'in chunks, byte by byte',
      `${CHUNKED}5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nx: y\r\n\r\n`.split(''),
    ],
    [
      'with sizes of chunks cut in two',
      [`${CHUNKED}1`, '0\r\n0123456789abcdef\r', '\n0\r\n\r', '\n'],
    ],
    [
      'with a length, byte by byte',
      'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world'.split(''),
    ],
  ])('%s', async (_name, pieces) => {
    const { server, send } = await start({ maxConnections: 1 });
    server.always(raw(...pieces));
    for (let count = 0; count < 2; count++)
      expect(text(await send())).toMatch(/^(hello world|0123456789abcdef)$/);
    expect(server.openSockets()).toBe(1);
  });

  test('up to the end of the connection', async () => {
    const { server, send } = await start();
    server.script(async ({ socket }) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\nhello');
      await setTimeout(5);
      socket.end(' world');
    });
    expect(text(await send())).toBe('hello world');
    await expect.poll(() => server.openSockets()).toBe(0);
  });

  test.each([
    ['whose head never ends', 'HTTP/1.1 200 OK\r\nx: ', 'a', 'ANSWER_TIMEOUT'],
    ['whose body stops', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', '', 'ANSWER_TIMEOUT'],
    ['that never begin', '', '', 'ANSWER_TIMEOUT'],
    ['that are none', 'SSH-2.0-OpenSSH_10.0\r\n', '', 'NOT_HTTP'],
    ['with a folded line', 'HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n', '', 'NOT_HTTP'],
  ])('%s fail: %#', async (_name, words, drip, code) => {
    const { server, send } = await start({ requestTimeoutMs: 1_200 });
    server.script(async ({ socket }) => {
      socket.write(words);
      while (drip !== '' && !socket.destroyed) {
        socket.write(drip);
        await setTimeout(20);
      }
    });
    await expect(send()).rejects.toMatchObject({ code, transient: true });
    await expect.poll(() => server.openSockets()).toBe(0);
  });

  test('that go on are not given up, however long they take', async () => {
    const { server, send } = await start({ requestTimeoutMs: 400 });
    const pieces = Array.from({ length: 200 }, () => 'a');
    server.script(raw('HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n', ...pieces));
    expect(text(await send())).toBe('a'.repeat(200));
  });
});

test('a refusal that comes while the content is under way is reported, and ends the connection', async () => {
  const { server, send } = await start();
  let read = () => {};
  server.script(({ request, socket }) => {
    request.pause();
    read = () => request.resume();
    socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
  });
  const answer = await send({ content: bodyOf(makeBytes(64 * MIB)) });
  expect([answer.status, text(answer)]).toEqual([403, 'no']);
  read();
  await expect.poll(() => server.openSockets()).toBe(0);
});

test('what would be two requests, or none, is not sent', async () => {
  const { server, send } = await start();
  for (const request of [
    { headers: { 'x-a': 'b\r\nx-c: d' } },
    { headers: { 'x a': 'b' } },
    { headers: { 'x-a': 'é\u0100' } },
    { path: '/a HTTP/1.1\r\n\r\n' },
    { path: '/a b' },
  ]) {
    await expect(send(request)).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      transient: false,
    });
  }
  expect(server.requests).toEqual([]);
  expect(await send()).toMatchObject({ status: 404 });
});

/** Where an exchange is when it is ended. */
const MOMENTS: readonly (readonly [string, string, boolean])[] = [
  ['before its head', '', false],
  ['within its head', 'HTTP/1.1 200 O', false],
  ['within its body', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', false],
  ['within a chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc', false],
  ['while the content is under way', '', true],
];

describe.each(MOMENTS)('an answer that is ended %s', (_name, words, isUpload) => {
  const content = () => (isUpload ? { content: bodyOf(makeBytes(16 * MIB)) } : {});

  test.each([
    ['reset', (socket: Socket) => socket.resetAndDestroy()],
    ['closed', (socket: Socket) => socket.destroy()],
  ])('by a connection that is %s', async (_how, end) => {
    const { server, send } = await start({ maxConnections: 1 });
    server.script(async ({ request, socket }) => {
      if (isUpload) request.pause();
      socket.write(words);
      await setTimeout(20);
      end(socket);
    });
    await expect(send(content())).rejects.toMatchObject({ transient: true });
    server.always(ok);
    expect(await send()).toMatchObject({ status: 200 });
  });

  test('by an abort', async () => {
    const { server, send } = await start({ maxConnections: 1 });
    const controller = new AbortController();
    let hasBegun = false;
    server.script(async ({ request, socket }) => {
      if (isUpload) request.pause();
      socket.write(words);
      await setTimeout(20);
      hasBegun = true;
    });
    const sending = send({ ...content(), signal: controller.signal });
    const waiting = send({ signal: controller.signal });
    const other = send();
    const settled = Promise.allSettled([sending, waiting]);
    await expect.poll(() => hasBegun).toBe(true);
    server.always(ok);
    controller.abort();
    for (const { status } of await settled) expect(status).toBe('rejected');
    expect(await other).toMatchObject({ status: 200 });
    // Of the one that waited nothing was sent.
    expect(server.requests).toHaveLength(2);
  });
});

test('at its end, all that is under way or waits fails', async () => {
  const { server, transport, send } = await start({ maxConnections: 1 });
  server.always(hang());
  const settled = Promise.allSettled([send(), send()]);
  await expect.poll(() => server.requests.length).toBe(1);
  await transport.close();
  for (const outcome of await settled)
    expect(outcome).toMatchObject({ reason: { code: 'TRANSPORT_CLOSED' } });
  await expect(send()).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
  await expect.poll(() => server.openSockets()).toBe(0);
});

test('contents never mix, whoever is aborted, refused or cut off beside', async () => {
  const { server, send } = await start({ maxConnections: 6 });
  let seed = 1;
  const below = (limit: number) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % limit;
  };
  const mixed: string[] = [];
  server.always(async ({ request, response, readBody, socket }) => {
    const fate = below(6);
    if (fate === 0) {
      socket.resetAndDestroy();
      return;
    }
    if (fate === 1) {
      response.writeHead(503, { 'content-length': 0 }).end();
      return;
    }
    const body = await readBody();
    const hash = createHash('sha256').update(body).digest('hex');
    if (hash !== request.headers['x-hash']) mixed.push(request.url ?? '');
    response.end(body);
  });
  let done = 0;
  await Promise.all(
    Array.from({ length: 12 }, async (_, worker) => {
      for (let count = 0; count < 12; count++) {
        const bytes = Buffer.alloc(1 + below(700_000), `${worker}.${count} `);
        const controller = new AbortController();
        const hash = createHash('sha256').update(bytes).digest('hex');
        const exchange = send({
          content: bodyOf(bytes),
          headers: { 'x-hash': hash },
          signal: controller.signal,
        });
        if (below(5) === 0)
          void setImmediate().then(() => {
            controller.abort();
          });
        try {
          const { status, body } = await exchange;
          if (status !== 200) continue;
          expect(Buffer.compare(body, bytes)).toBe(0);
          done += 1;
        } catch (error) {
          expect(error).toHaveProperty('code');
        }
      }
    }),
  );
  expect(mixed).toEqual([]);
  expect(done).toBeGreaterThan(20);
});

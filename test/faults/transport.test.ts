// SPDX-License-Identifier: GPL-3.0-or-later

import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NetworkSettings } from '../../src/config/settings.ts';
import { createTransport, type ExchangeRequest, type Transport } from '../../src/http/transport.ts';
import { makeBody, makeBytes } from '../support/bodies.ts';
import { makeCertificate } from '../support/certificate.ts';
import { startProxy } from '../support/forward-proxy.ts';
import { type Step, startScriptedServer } from '../support/scripted-server.ts';
import { makeProxies } from '../support/settings.ts';
import { useClosing } from './bench.ts';

/** Of many pieces. */
const SIZE_BYTES = 16 * 1024 * 1024;
const UPLOADS = 40;

/** A server and a proxy, on a thread of their own: only then can an answer overtake what the client's loop still has to do. */
const TLS_SERVERS = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { createServer } = require('node:https');
  const server = createServer(workerData, (request, response) => {
    request.resume().once('end', () => response.end());
  });
  const proxy = createServer(workerData).on('connect', (request, socket) => {
    const target = require('node:net').connect(server.address().port, '127.0.0.1');
    socket.write('HTTP/1.1 200 OK\\r\\n\\r\\n');
    socket.pipe(target).pipe(socket);
    for (const each of [socket, target]) each.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1', () => {
    proxy.listen(0, '127.0.0.1', () => {
      parentPort.postMessage([server, proxy].map((each) => each.address().port));
    });
  });
`;

function connect(changes: Partial<NetworkSettings> = {}): Transport {
  return createTransport({
    connectionTimeoutMs: 5_000,
    requestTimeoutMs: 20_000,
    maxConnections: 4,
    maxRetries: 0,
    caCertificatesFile: undefined,
    proxies: { http: undefined, https: undefined, exceptions: '' },
    ...changes,
  });
}

const send = (
  transport: Transport,
  origin: string,
  method: ExchangeRequest['method'],
  sizeBytes?: number,
) =>
  transport.exchange({
    origin,
    method,
    path: '/bucket/key',
    headers: sizeBytes === undefined ? {} : { 'content-length': String(sizeBytes) },
    content: sizeBytes === undefined ? undefined : makeBody(makeBytes(sizeBytes)),
    signal: undefined,
  });

const upload = (transport: Transport, origin: string) => send(transport, origin, 'PUT', SIZE_BYTES);

const certificate = makeCertificate(['store.test']);
let folder: string;
let caCertificatesFile: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oos-transport-'));
  caCertificatesFile = join(folder, 'ca.pem');
  await writeFile(caCertificatesFile, certificate.cert);
});

afterAll(() => rm(folder, { recursive: true }));

test('over TLS, the answer to the last byte is a success, however fast it comes', async () => {
  const server = new Worker(TLS_SERVERS, { eval: true, workerData: certificate });
  const transport = connect({ caCertificatesFile });
  try {
    const [[port]] = (await once(server, 'message')) as [number[]];
    for (let count = 0; count < UPLOADS; count += 4) {
      const answers = Array.from({ length: 4 }, () =>
        upload(transport, `https://127.0.0.1:${port}`),
      );
      for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    }
  } finally {
    await transport.close();
    await server.terminate();
  }
});

test('the same through a proxy with TLS of its own, however busy the loop is', async () => {
  const servers = new Worker(TLS_SERVERS, { eval: true, workerData: certificate });
  const [[, proxyPort]] = (await once(servers, 'message')) as [number[]];
  const proxies = makeProxies(`https://127.0.0.1:${proxyPort}`);
  const transport = connect({ caCertificatesFile, proxies });
  let isOver = false;
  const keepBusy = async () => {
    for (; !isOver; await setImmediate()) {
      const endMs = performance.now() + 2;
      while (performance.now() < endMs);
    }
  };
  const busy = keepBusy();
  try {
    for (let count = 0; count < 160; count += 4) {
      const answers = Array.from({ length: 4 }, () =>
        send(transport, 'https://store.test', 'PUT', 300_000),
      );
      for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    }
  } finally {
    isOver = true;
    await busy;
    await transport.close();
    await servers.terminate();
  }
});

test('a success that comes before the content has gone is none', async () => {
  const server = await startScriptedServer();
  const transport = connect();
  try {
    server.always(({ response }) => {
      response.end();
    });
    const uploading = upload(transport, server.endpoint);
    await expect(uploading).rejects.toMatchObject({ code: 'EARLY_SUCCESS', transient: true });
  } finally {
    await transport.close();
    await server.close();
  }
});

describe('answers before the last one', () => {
  const closing = useClosing();
  const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

  /** Says it before anything of the content is read, and once more after that. The body looks like such an answer too. */
  function interrupt(interim: string, isSplit = false): Step {
    return async ({ readBody, response, socket }) => {
      const say = async () => {
        if (!isSplit) socket.write(interim);
        for (const byte of isSplit ? interim : '') {
          socket.write(byte);
          await setTimeout(1);
        }
      };
      await say();
      const body = await readBody();
      await say();
      response.setHeader('x-bytes', body.length);
      response.end(response.req.method === 'DELETE' ? undefined : CONTINUE);
    };
  }

  /** Each twice, so that the second one finds a connection that was used. */
  async function expectAnswers(transport: Transport, origin: string) {
    for (const [method, sizeBytes] of [
      ['GET', undefined],
      ['PUT', 0],
      ['PUT', 1_000],
      ['PUT', SIZE_BYTES],
      ['POST', 1_000],
      ['DELETE', undefined],
      ['HEAD', undefined],
    ] as const) {
      for (let count = 0; count < 2; count++) {
        const { status, headers, body } = await send(transport, origin, method, sizeBytes);
        expect([method, status, headers['x-bytes']]).toEqual([method, 200, `${sizeBytes ?? 0}`]);
        const hasBody = method !== 'DELETE' && method !== 'HEAD';
        expect(Buffer.from(body).toString()).toBe(hasBody ? CONTINUE : '');
      }
    }
  }

  test.each([
    ['100 Continue', CONTINUE],
    ['it three times', CONTINUE.repeat(3)],
    ['it with headers', 'HTTP/1.1 100 Continue\r\nServer: some-proxy\r\nContent-Length: 7\r\n\r\n'],
    ['it without a reason', 'HTTP/1.1 100\r\n\r\n'],
    ['it in HTTP/1.0', 'HTTP/1.0 100 Continue\r\n\r\n'],
    ['it with "Connection: close"', 'HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n'],
    [
      '102 and 103',
      'HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </a>; rel=preload\r\n\r\n',
    ],
  ])('%s is passed over', async (_name, interim) => {
    const server = closing(await startScriptedServer());
    const transport = closing(connect({ maxConnections: 1 }));
    server.always(interrupt(interim));
    await expectAnswers(transport, server.endpoint);
  });

  test('byte by byte, and over TLS', async () => {
    const server = closing(await startScriptedServer({ certificate }));
    const transport = closing(connect({ caCertificatesFile }));
    server.always(interrupt(CONTINUE, true));
    await expectAnswers(transport, server.endpoint);
  });

  test.each(['http', 'https'])('of a proxy and behind it, %s', async (scheme) => {
    const server = closing(await startScriptedServer(scheme === 'https' ? { certificate } : {}));
    const proxy = closing(await startProxy({ targetPort: server.port, interim: CONTINUE }));
    const proxies = makeProxies(`http://127.0.0.1:${proxy.port}`);
    const transport = closing(connect({ caCertificatesFile, proxies }));
    server.always(interrupt(CONTINUE));
    await expectAnswers(transport, `${scheme}://store.test`);
  });

  test.each(['', 'Upgrade: h2c\r\nConnection: Upgrade\r\n'])('but not 101 %j', async (lines) => {
    const server = closing(await startScriptedServer());
    const transport = closing(connect());
    server.always(interrupt(`HTTP/1.1 101 Switching Protocols\r\n${lines}\r\n`));
    const sending = send(transport, server.endpoint, 'GET');
    await expect(sending).rejects.toMatchObject({ code: 'NOT_HTTP', transient: true });
  });
});

describe('answers that nobody asked for', () => {
  const closing = useClosing();
  const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n';
  const STRAY = 'HTTP/1.1 200 OK\r\nx-stray: yes\r\ncontent-length: 0\r\n\r\n';
  const WAYS = ['http', 'https', 'http proxy', 'https proxy'] as const;
  const METHODS = [
    ['PUT', 1_000],
    ['PUT', SIZE_BYTES],
    ['GET', undefined],
    ['DELETE', undefined],
    ['HEAD', undefined],
  ] as const;

  async function start(way: (typeof WAYS)[number]) {
    const isTls = way.startsWith('https');
    const server = closing(await startScriptedServer(isTls ? { certificate } : {}));
    const proxy = way.endsWith('proxy')
      ? closing(await startProxy({ targetPort: server.port }))
      : undefined;
    const proxies =
      proxy === undefined ? {} : { proxies: makeProxies(`http://127.0.0.1:${proxy.port}`) };
    const transport = closing(connect({ maxConnections: 1, caCertificatesFile, ...proxies }));
    const origin =
      proxy === undefined ? server.endpoint : `${isTls ? 'https' : 'http'}://store.test`;
    return { server, transport, origin };
  }

  const answer: Step = async ({ readBody, response }) => {
    await readBody();
    response.end();
  };

  test.each(WAYS)('behind an answer, in one segment, fail it: %s', async (way) => {
    const { server, transport, origin } = await start(way);
    for (const [method, sizeBytes] of METHODS) {
      server.script(async ({ readBody, socket }) => {
        await readBody();
        socket.write(OK + STRAY);
      }, answer);
      const sending = send(transport, origin, method, sizeBytes);
      await expect(sending).rejects.toMatchObject({ code: 'MISMATCHED_ANSWER', transient: true });
      const { headers } = await send(transport, origin, method, sizeBytes);
      expect([method, headers['x-stray']]).toEqual([method, undefined]);
    }
  });

  test.each(WAYS)(
    'behind an answer, in a record of TLS by themselves, answer nothing: %s',
    async (way) => {
      const { server, transport, origin } = await start(way);
      server.always(answer);
      for (const [method, sizeBytes] of METHODS) {
        server.script(async ({ readBody, socket }) => {
          await readBody();
          socket.write(OK);
          socket.write(STRAY);
        });
        const first = send(transport, origin, method, sizeBytes);
        // One waits for the connection, the other one is sent as soon as the answer is there.
        const sending = [
          send(transport, origin, method),
          first.then(() => send(transport, origin, method)),
        ];
        for (const outcome of await Promise.allSettled(sending))
          expect(outcome).not.toMatchObject({ value: { headers: { 'x-stray': 'yes' } } });
      }
    },
  );

  test.each(WAYS)('a moment later, end the connection: %s', async (way) => {
    const { server, transport, origin } = await start(way);
    for (const [method, sizeBytes] of METHODS) {
      let connection: Socket | undefined;
      server.script((exchange) => {
        connection = exchange.socket;
        return answer(exchange);
      }, answer);
      await send(transport, origin, method, sizeBytes);
      connection?.write(STRAY);
      await setTimeout(100);
      const { headers } = await send(transport, origin, method, sizeBytes);
      expect([method, headers['x-stray']]).toEqual([method, undefined]);
    }
  });

  test.each(['http', 'https'] as const)(
    'before the first request, fail the connection: %s',
    async (way) => {
      const { server, transport, origin } = await start(way);
      server.greet(STRAY);
      for (const [method, sizeBytes] of METHODS) {
        const sending = send(transport, origin, method, sizeBytes);
        await expect(sending).rejects.toMatchObject({ code: 'MISMATCHED_ANSWER', transient: true });
      }
      expect(server.requests).toEqual([]);
      server.greet(undefined);
      server.always(answer);
      expect(await send(transport, origin, 'GET')).toMatchObject({ status: 200 });
    },
  );

  test('while a small content waits for the system to take it, are no success', async () => {
    const transport = closing(connect({ maxConnections: 1 }));
    // Nothing of the contents is read, so that what lies between is full soon.
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      const timer = setInterval(() => socket.write(OK), 20);
      socket
        .on('error', () => undefined)
        .once('close', () => {
          clearInterval(timer);
        });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    const sendAll = async () => {
      for (let count = 0; count < 20; count++)
        await send(transport, `http://127.0.0.1:${port}`, 'PUT', 1_000_000);
    };
    await expect(sendAll()).rejects.toMatchObject({ code: 'EARLY_SUCCESS', transient: true });
    await transport.close();
    server.close();
  });
});

// SPDX-License-Identifier: GPL-3.0-or-later

import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NetworkSettings } from '../../src/config/settings.ts';
import {
  createTransport,
  type ExchangeRequest,
  type Transport,
} from '../../src/providers/transport.ts';
import { makeBody, makeBytes } from '../support/bodies.ts';
import { makeCertificate } from '../support/certificate.ts';
import { startProxy } from '../support/forward-proxy.ts';
import { type Step, startScriptedServer } from '../support/scripted-server.ts';
import { makeProxies } from '../support/settings.ts';
import { useClosing } from './bench.ts';

/** Of many pieces. */
const SIZE_BYTES = 16 * 1024 * 1024;
const UPLOADS = 40;

/** On a thread of its own: only then can its answer overtake what the client's loop still has to do. */
const TLS_SERVER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const server = require('node:https').createServer(workerData, (request, response) => {
    request.resume().once('end', () => response.end());
  });
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
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
    receive: undefined,
    isGenuine: undefined,
    signal: undefined,
  });

const upload = (transport: Transport, origin: string) => send(transport, origin, 'PUT', SIZE_BYTES);

test('over TLS, the answer to the last byte is a success, however fast it comes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'oos-transport-'));
  const certificate = makeCertificate();
  const authorities = join(folder, 'ca.pem');
  await writeFile(authorities, certificate.cert);
  const server = new Worker(TLS_SERVER, { eval: true, workerData: certificate });
  const transport = connect({ caCertificatesFile: authorities });
  try {
    const [port]: number[] = await once(server, 'message');
    for (let count = 0; count < UPLOADS; count += 4) {
      const answers = Array.from({ length: 4 }, () =>
        upload(transport, `https://127.0.0.1:${port}`),
      );
      for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    }
  } finally {
    await transport.close();
    await server.terminate();
    await rm(folder, { recursive: true });
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
  const certificate = makeCertificate(['store.test']);
  let folder: string;
  let caCertificatesFile: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'oos-transport-'));
    caCertificatesFile = join(folder, 'ca.pem');
    await writeFile(caCertificatesFile, certificate.cert);
  });

  afterAll(() => rm(folder, { recursive: true }));

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
    await expect(sending).rejects.toMatchObject({ code: 'UND_ERR_SOCKET', transient: true });
  });
});

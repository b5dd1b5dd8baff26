// SPDX-License-Identifier: GPL-3.0-or-later

import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openSocket } from '../../../src/http/connect.ts';
import { createTransport } from '../../../src/http/transport.ts';
import { makeCertificate } from '../../support/certificate.ts';
import { startProxy } from '../../support/forward-proxy.ts';
import { startScriptedServer } from '../../support/scripted-server.ts';
import { makeProxies, NETWORK } from '../../support/settings.ts';

/** Of one port: a server that does not answer yet, one that does, and two where nobody listens. */
const SILENT = '127.0.0.2';
const LISTENING = '127.0.0.3';
const REFUSING = ['127.0.0.4', '127.0.0.5'];

/** Takes what fits in its queue; from then on the system drops whatever comes, as a firewall does, until it is woken. */
const SLEEPER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const server = require('node:net').createServer((socket) => socket.on('error', () => undefined));
  server.listen({ port: 0, host: '${SILENT}', backlog: 1 }, () => {
    parentPort.postMessage(server.address().port);
    setTimeout(() => Atomics.wait(workerData, 0, 0), 50);
  });
`;

async function startSilent(): Promise<{ readonly port: number; readonly wake: () => void }> {
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const wake = () => {
    Atomics.store(flag, 0, 1);
    Atomics.notify(flag, 0);
  };
  const worker = new Worker(SLEEPER, { eval: true, workerData: flag });
  const [port] = (await once(worker, 'message')) as [number];
  await setTimeout(100);
  const fillers = Array.from({ length: 4 }, () =>
    connect(port, SILENT).on('error', () => undefined),
  );
  await setTimeout(100);
  onTestFinished(async () => {
    for (const filler of fillers) filler.destroy();
    wake();
    await worker.terminate();
  });
  return { port, wake };
}

async function listen(host: string, port = 0) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.resume().on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(port, host);
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { server, port: (server.address() as AddressInfo).port, openSockets: () => sockets.size };
}

async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
  const start = performance.now();
  return [await work(), performance.now() - start];
}

describe('a host with several addresses', () => {
  const never = new AbortController().signal;

  test('one that is slow to answer gets its time, though all others refuse', async () => {
    const { port, wake } = await startSilent();
    const opening = openSocket([SILENT, ...REFUSING], port, never);
    await setTimeout(700);
    wake();
    const socket = await opening;
    expect(socket.remoteAddress).toBe(SILENT);
    socket.destroy();
  });

  test('one that never answers costs a quarter of a second, and its attempt is ended', async () => {
    const { port } = await startSilent();
    await listen(LISTENING, port);
    const [socket, ms] = await timed(() => openSocket([SILENT, LISTENING], port, never));
    expect(socket.remoteAddress).toBe(LISTENING);
    expect(ms).toBeGreaterThan(200);
    expect(ms).toBeLessThan(1_000);
    socket.destroy();
  });

  test('one that refuses costs nothing', async () => {
    const { port } = await listen(LISTENING);
    const [socket, ms] = await timed(() => openSocket([...REFUSING, LISTENING], port, never));
    expect(ms).toBeLessThan(200);
    socket.destroy();
  });

  test('where all refuse, so does the host', async () => {
    const { port } = await listen(LISTENING);
    const opening = openSocket(REFUSING, port, never);
    await expect(opening).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('that one has no route hides not what another one said', async () => {
    const { port } = await listen(LISTENING);
    // As a machine says of an IPv6 address that has no route there: ENETUNREACH.
    const opening = openSocket(['255.255.255.255', ...REFUSING], port, never);
    await expect(opening).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('nothing is left when nobody waits any more', async () => {
    const { port } = await startSilent();
    const giveUp = new AbortController();
    const opening = openSocket([SILENT, SILENT], port, giveUp.signal);
    await setTimeout(300);
    giveUp.abort();
    await expect(opening).rejects.toThrow('aborted');
  });
});

describe('ConnectionTimeout', () => {
  const TIMEOUT_MS = 700;

  async function expectTimeout(origin: string, httpProxy?: string): Promise<void> {
    const transport = createTransport({
      connectionTimeoutMs: TIMEOUT_MS,
      requestTimeoutMs: 60_000,
      maxConnections: 1,
      maxRetries: 0,
      caCertificatesFile: undefined,
      proxies: httpProxy === undefined ? NO_PROXIES : makeProxies(httpProxy),
    });
    const start = performance.now();
    const exchanging = transport.exchange({
      origin,
      method: 'GET',
      path: '/',
      headers: {},
      signal: undefined,
    });
    await expect(exchanging).rejects.toMatchObject({ code: 'CONNECT_TIMEOUT' });
    const ms = performance.now() - start;
    expect(ms).toBeGreaterThan(TIMEOUT_MS - 50);
    expect(ms).toBeLessThan(TIMEOUT_MS + 500);
    await transport.close();
  }

  const NO_PROXIES = { http: undefined, https: undefined, exceptions: '' };

  test.each(['http', 'https'])('holds for a server that lets nobody in, %s', async (scheme) => {
    const { port } = await startSilent();
    await expectTimeout(`${scheme}://${SILENT}:${port}`);
  });

  test('holds for the beginning of TLS, and ends the connection', async () => {
    const server = await listen(LISTENING);
    await expectTimeout(`https://${LISTENING}:${server.port}`);
    await expect.poll(server.openSockets).toBe(0);
  });

  test.each(['http', 'https'])('holds for a proxy that lets nobody in, %s', async (scheme) => {
    const { port } = await startSilent();
    await expectTimeout(`${scheme}://store.test`, `http://${SILENT}:${port}`);
  });

  test('holds for a proxy that opens no tunnel', async () => {
    const proxy = await listen(LISTENING);
    await expectTimeout('https://store.test', `http://${LISTENING}:${proxy.port}`);
    await expect.poll(proxy.openSockets).toBe(0);
  });
});

describe('a proxy on the way to TLS', () => {
  async function send(origin: string, proxy: string, caCertificatesFile?: string) {
    const transport = createTransport({
      ...NETWORK,
      caCertificatesFile,
      proxies: makeProxies(proxy),
    });
    onTestFinished(() => transport.close());
    return await transport.exchange({ origin, method: 'GET', path: '/', headers: {} });
  }

  test('that leads to another address than the certificate is for is found out', async () => {
    const certificate = makeCertificate(['store.test']);
    const server = await startScriptedServer({ certificate });
    const proxy = await startProxy({ targetPort: server.port });
    const folder = await mkdtemp(join(tmpdir(), 'oos-connect-'));
    onTestFinished(async () => {
      await Promise.all([proxy.close(), server.close(), rm(folder, { recursive: true })]);
    });
    const address = `http://127.0.0.1:${proxy.port}`;
    const authorities = join(folder, 'ca.pem');
    await writeFile(authorities, certificate.cert);
    expect(await send('https://store.test', address, authorities)).toMatchObject({ status: 404 });
    // The certificate is also for "localhost", by which Node goes where it is told no host.
    await expect(send('https://192.0.2.1', address, authorities)).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
  });

  test('that does not speak HTTP is left', async () => {
    const proxy = await listen(LISTENING);
    proxy.server.on('connection', (socket) => socket.write('SSH-2.0-OpenSSH_10.0\r\n'));
    await expect(
      send('https://store.test', `http://${LISTENING}:${proxy.port}`),
    ).rejects.toMatchObject({ code: 'NOT_HTTP' });
    await expect.poll(proxy.openSockets).toBe(0);
  });
});

// SPDX-License-Identifier: GPL-3.0-or-later

import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { createTransport, type Transport } from '../../src/providers/transport.ts';
import { makeBody, makeBytes } from '../support/bodies.ts';
import { makeCertificate } from '../support/certificate.ts';
import { startScriptedServer } from '../support/scripted-server.ts';

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

function connect(caCertificatesFile?: string): Transport {
  return createTransport({
    connectionTimeoutMs: 5_000,
    requestTimeoutMs: 20_000,
    maxConnections: 4,
    maxRetries: 0,
    caCertificatesFile,
    proxies: { http: undefined, https: undefined, exceptions: '' },
  });
}

const upload = (transport: Transport, origin: string) =>
  transport.exchange({
    origin,
    method: 'PUT',
    path: '/bucket/key',
    headers: { 'content-length': String(SIZE_BYTES) },
    content: makeBody(makeBytes(SIZE_BYTES)),
    receive: undefined,
    isGenuine: undefined,
    signal: undefined,
  });

test('over TLS, the answer to the last byte is a success, however fast it comes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'oos-transport-'));
  const certificate = makeCertificate();
  const authorities = join(folder, 'ca.pem');
  await writeFile(authorities, certificate.cert);
  const server = new Worker(TLS_SERVER, { eval: true, workerData: certificate });
  const transport = connect(authorities);
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

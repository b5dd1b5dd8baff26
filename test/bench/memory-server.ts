// SPDX-License-Identifier: GPL-3.0-or-later
// A server in a process of its own that takes every PUT and answers every GET key-N with N bytes and their checksums. It checks
// nothing, so that the client is what is measured. Arguments: scheme, folder for the certificate.

import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { crc32, encodeCrc32 } from '../../src/checksums/checksums.ts';
import { loadCrc32c } from '../../src/checksums/wasm-checksums.ts';
import { CRC32_METADATA } from '../../src/providers/azure/requests.ts';
import { makeCertificate } from '../support/certificate.ts';
import { STORE_HEADERS } from '../support/scripted-server.ts';

interface Content {
  readonly bytes: Buffer;
  readonly crc32: string;
  readonly md5: string;
  readonly crc32c: string;
}

const contents = new Map<number, Content>();
let createChecksum: Awaited<ReturnType<typeof loadCrc32c>>;

function contentOf(sizeBytes: number): Content {
  const known = contents.get(sizeBytes);
  if (known !== undefined) return known;
  const bytes = Buffer.alloc(sizeBytes, 'content of no meaning ');
  const checksum = createChecksum();
  checksum.update(bytes);
  const content = {
    bytes,
    crc32c: checksum.toBase64(),
    crc32: encodeCrc32(crc32(bytes, 0)),
    md5: createHash('md5').update(bytes).digest('base64'),
  };
  contents.set(sizeBytes, content);
  return content;
}

/** Google's upload names the object in its content, and wants to hear what was stored. */
function answerUpload(request: IncomingMessage, response: ServerResponse): void {
  let sizeBytes = 0;
  request.once('data', (chunk: Buffer) => {
    // The SDK names it in the URL instead.
    const named = `${request.url} ${chunk.subarray(0, 1_000).toString('latin1')}`;
    sizeBytes = Number(/key-(\d+)/.exec(named)?.[1]);
  });
  request.on('end', () => {
    const { crc32c, md5 } = contentOf(sizeBytes);
    const json = JSON.stringify({ size: String(sizeBytes), crc32c, md5Hash: md5 });
    const head = { 'content-type': 'application/json', 'content-length': json.length };
    response.writeHead(200, head).end(json);
  });
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  if (request.url?.startsWith('/upload/') === true) {
    answerUpload(request, response);
    return;
  }
  if (request.method !== 'GET') {
    // Azure's word for it; S3's is 200.
    const status = request.headers['x-ms-blob-type'] === undefined ? 200 : 201;
    request.on('end', () =>
      response.writeHead(status, { ...STORE_HEADERS, 'content-length': 0 }).end(),
    );
    request.resume();
    return;
  }
  const {
    bytes,
    crc32: checksum,
    md5,
    crc32c,
  } = contentOf(Number(/key-(\d+)/.exec(request.url ?? '')?.[1]));
  const head = {
    'content-length': bytes.length,
    'x-amz-checksum-crc32': checksum,
    'content-md5': md5,
    [`x-ms-meta-${CRC32_METADATA}`]: checksum,
    'x-goog-hash': `crc32c=${crc32c},md5=${md5}`,
    ...STORE_HEADERS,
  };
  response.writeHead(200, head).end(bytes);
}

const [scheme, folder = ''] = process.argv.slice(2);
const certificate = scheme === 'https' ? makeCertificate() : undefined;
if (certificate !== undefined) writeFileSync(join(folder, 'ca.pem'), certificate.cert);
const server =
  certificate === undefined ? createServer(answer) : createTlsServer(certificate, answer);
server.keepAliveTimeout = 60_000;
async function main(): Promise<void> {
  createChecksum = await loadCrc32c();
  server.listen(0, '127.0.0.1', onListening);
}

function onListening(): void {
  const { port } = server.address() as AddressInfo;
  process.send?.([`${scheme}://127.0.0.1:${port}`]);
}

void main();

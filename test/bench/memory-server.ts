// SPDX-License-Identifier: GPL-3.0-or-later
// A server in a process of its own that takes every PUT and answers every GET key-N with N bytes and their CRC32. It checks
// nothing, so that the client is what is measured. Arguments: scheme, folder for the certificate.

import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { crc32, encodeCrc32 } from '../../src/providers/checksums.ts';
import { makeCertificate } from '../support/certificate.ts';

const contents = new Map<number, { readonly bytes: Buffer; readonly crc32: string }>();

function contentOf(sizeBytes: number) {
  const known = contents.get(sizeBytes);
  if (known !== undefined) return known;
  const bytes = Buffer.alloc(sizeBytes, 'content of no meaning ');
  const content = { bytes, crc32: encodeCrc32(crc32(bytes, 0)) };
  contents.set(sizeBytes, content);
  return content;
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  if (request.method !== 'GET') {
    request.on('end', () => response.writeHead(200, { 'content-length': 0 }).end());
    request.resume();
    return;
  }
  const { bytes, crc32: checksum } = contentOf(Number(/key-(\d+)/.exec(request.url ?? '')?.[1]));
  const head = { 'content-length': bytes.length, 'x-amz-checksum-crc32': checksum };
  response.writeHead(200, head).end(bytes);
}

const [scheme, folder = ''] = process.argv.slice(2);
const certificate = scheme === 'https' ? makeCertificate() : undefined;
if (certificate !== undefined) writeFileSync(join(folder, 'ca.pem'), certificate.cert);
const server =
  certificate === undefined ? createServer(answer) : createTlsServer(certificate, answer);
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  process.send?.([`${scheme}://127.0.0.1:${port}`]);
});

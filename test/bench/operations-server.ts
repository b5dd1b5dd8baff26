// SPDX-License-Identifier: GPL-3.0-or-later
// A provider's server in memory, in a process of its own. Argument: s3, azure or google.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerAzure } from '../support/azure-memory.ts';
import { answerGoogle } from '../support/google-memory.ts';
import { answerS3 } from '../support/s3-memory.ts';
import type { Memory } from '../support/scripted-server.ts';

const ANSWERS = { s3: answerS3, azure: answerAzure, google: answerGoogle };

const answer = ANSWERS[process.argv[2] as keyof typeof ANSWERS];
const memory: Memory = { objects: new Map(), uploads: new Map() };
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const { method = '', url = '' } = request;
    const headers = request.headers as Record<string, string | undefined>;
    const body = Buffer.concat(chunks);
    answer(memory, { method, url, headers, body: () => body }, body, response);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
process.on('disconnect', () => process.exit());

// SPDX-License-Identifier: GPL-3.0-or-later

import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { connectToOrthanc } from '../../../src/cli/orthanc-http.ts';
import { expectFailure } from '../../support/bodies.ts';
import { makeCertificate } from '../../support/certificate.ts';

let server: Server | undefined;

afterEach(() => {
  server?.close();
});

/** @returns host and port */
async function listen(started: Server): Promise<string> {
  server = started;
  await new Promise<void>((resolve) => {
    started.listen(0, '127.0.0.1', resolve);
  });
  return `127.0.0.1:${(started.address() as AddressInfo).port}`;
}

const ask = (url: string) => connectToOrthanc(new URL(url)).get('/system');

test('user and password go along, and are asked for where they are missing or wrong', async () => {
  const host = await listen(
    createServer((request, response) => {
      const right = `Basic ${Buffer.from('user:pass word').toString('base64')}`;
      response.statusCode = request.headers.authorization === right ? 200 : 401;
      response.end('{"Name":"Orthanc"}');
    }),
  );
  expect(await ask(`http://user:pass%20word@${host}/`)).toEqual({ Name: 'Orthanc' });
  await expectFailure(ask(`http://${host}/`), 'ACCESS_DENIED', /asks for a user and a password/);
  const { message } = await expectFailure(ask(`http://user:wrong@${host}/`), 'ACCESS_DENIED');
  expect(message).toContain(`asks for another user or password: --orthanc http://USER:PASSWORD@`);
  expect(message).not.toContain('wrong');
});

test('a "%" in a password stands for itself where it begins no code', async () => {
  const host = await listen(
    createServer((request, response) => {
      response.end(JSON.stringify(request.headers.authorization));
    }),
  );
  const basic = `Basic ${Buffer.from('user:50%off').toString('base64')}`;
  expect(await ask(`http://user:50%off@${host}/`)).toBe(basic);
  expect(await ask(`http://user:50%25off@${host}/`)).toBe(basic);
});

test('a certificate that is not trusted is told from a server that is away', async () => {
  const host = await listen(createTlsServer(makeCertificate()));
  await expectFailure(ask(`https://${host}`), 'UNAVAILABLE', /certificate.*NODE_EXTRA_CA_CERTS/);
  await new Promise((resolve) => server?.close(resolve));
  await expectFailure(ask(`http://${host}`), 'UNAVAILABLE', /at http:.* \(ECONNREFUSED\)$/);
});

// SPDX-License-Identifier: GPL-3.0-or-later

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { describeUnderscore, explainTransport } from '../../../src/http/network-errors.ts';
import { createTransport, TransportError } from '../../../src/http/transport.ts';
import { makeProxies, NETWORK } from '../../support/settings.ts';

/** What a user is told of a server that does this once something has come. */
async function explain(scheme: string, answer: (socket: Socket) => void, isProxy = false) {
  const server = createServer((socket) => {
    socket
      .on('error', () => undefined)
      .once('data', () => {
        answer(socket);
      });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const transport = createTransport(
    isProxy ? { ...NETWORK, proxies: makeProxies(address) } : NETWORK,
  );
  onTestFinished(async () => {
    await transport.close();
    server.close();
  });
  const origin = isProxy ? 'https://store.test' : address;
  try {
    await transport.exchange({
      origin,
      method: 'GET',
      path: '/',
      headers: {},
      signal: undefined,
    });
  } catch (thrown) {
    if (!(thrown instanceof TransportError)) throw thrown;
    const { code, text } = explainTransport(thrown, {
      section: 'AwsS3Storage',
      target: origin,
      addressSetting: 'AwsS3Storage.Endpoint',
      endpoint: origin,
      hostSettings: 'AwsS3Storage.Endpoint or .Region',
      isCheck: true,
    });
    return { code, text, isTransient: thrown.transient };
  }
  throw new Error('there was an answer');
}

/** A fatal alert. @see RFC 8446, section 6 */
const alert = (number: number) => (socket: Socket) => {
  socket.end(Buffer.from([0x15, 3, 3, 0, 2, 2, number]));
};

test('a proxy that does not speak TLS is named, and the store is not to blame', async () => {
  const answer = (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  const { code, text, isTransient } = await explain('https', answer, true);
  expect(text).toMatch(/^the proxy does not speak TLS; write "http:\/\/" in \S*HttpProxy/);
  expect(text).not.toContain('Endpoint');
  expect([code, isTransient]).toEqual(['BAD_CONFIG', false]);
});

describe('a server of TLS that refuses', () => {
  test.each([
    [40, /handshake failure\): it may not know this host name/],
    [42, /bad certificate\): it demands a certificate of its clients/],
    [46, /certificate unknown\): it demands a certificate of its clients/],
    [48, /unknown ca\): it demands a certificate of its clients/],
    [49, /access denied\): the server's log/],
    [70, /protocol version\): it accepts no version or cipher/],
    [71, /insufficient security\): it accepts no version or cipher/],
    [80, /internal error\): it may not know this host name/],
    [112, /unrecognized name\): it has no certificate for this host name; correct AwsS3Storage\./],
    [116, /certificate required\): it demands a certificate of its clients/],
    [120, /no application protocol\): the server's log/],
  ])('with alert %i is not taken for plain HTTP', async (number, message) => {
    const { code, text, isTransient } = await explain('https', alert(number));
    expect(text).toContain(`refuses TLS (alert ${number}, `);
    expect(text).toMatch(message);
    expect(text).not.toMatch(/http:|rec_layer|sslv3|tlsv1/);
    expect([code, isTransient]).toEqual(['BAD_CONFIG', false]);
  });

  test.each([20, 50, 51])('for what was damaged on the way (%i) is asked again', async (number) => {
    const { code, text, isTransient } = await explain('https', alert(number));
    expect(text).toMatch(/bytes were damaged on the way/);
    expect([code, isTransient]).toEqual(['UNAVAILABLE', true]);
  });
});

test.each([
  ['HTTP', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
  ['SSH', 'SSH-2.0-OpenSSH_10.0\r\n'],
])('"https://" before a server of %s', async (_name, words) => {
  const { code, text } = await explain('https', (socket) => socket.end(words));
  expect(text).toMatch(
    /does not speak TLS; if it is plain HTTP, write "http:\/\/" in AwsS3Storage/,
  );
  expect(code).toBe('BAD_CONFIG');
});

test('"http://" before a server of TLS that says so', async () => {
  const { code, text } = await explain('http', alert(10));
  expect(text).toMatch(/does not speak HTTP\/1\.1 .*write "https:\/\/" in AwsS3Storage\.Endpoint/);
  expect(code).toBe('UNAVAILABLE');
});

test('a host name that many servers refuse', () => {
  expect(describeUnderscore('http://minio_1:9000')).toMatch(/a host name with "_"/);
  expect(describeUnderscore('http://minio-1:9000/a_b')).toBe('');
  expect(describeUnderscore(undefined)).toBe('');
});

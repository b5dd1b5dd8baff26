// SPDX-License-Identifier: GPL-3.0-or-later

import { describe, expect, test } from 'vitest';
import { parseConnectionString } from '../../../src/config/connection-string.ts';

const KEY = Buffer.from('a key of some length, even').toString('base64');

describe('parseConnectionString', () => {
  test.each([
    [
      "the portal's",
      `DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=${KEY};EndpointSuffix=core.windows.net`,
      'https://acc.blob.core.windows.net',
    ],
    [
      'without protocol and suffix',
      `AccountName=acc;AccountKey=${KEY}`,
      'https://acc.blob.core.windows.net',
    ],
    [
      "another cloud's",
      `AccountName=acc;AccountKey=${KEY};EndpointSuffix=core.chinacloudapi.cn;`,
      'https://acc.blob.core.chinacloudapi.cn',
    ],
    [
      'with an address of its own, spaces, and other spelling',
      ` accountname=acc ; ACCOUNTKEY=${KEY};BlobEndpoint=http://127.0.0.1:10000/acc;QueueEndpoint=http://x`,
      'http://127.0.0.1:10000/acc',
    ],
  ])('an account key: %s', (_name, text, endpoint) => {
    expect(parseConnectionString(text)).toEqual({
      connectionString: `DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=${KEY};BlobEndpoint=${endpoint}`,
      endpoint,
    });
  });

  test.each([
    [
      "the portal's",
      'BlobEndpoint=https://acc.blob.core.windows.net/;QueueEndpoint=https://acc.queue.core.windows.net/;SharedAccessSignature=sv=2024-11-04&sp=rwd&sig=a%2Bb%3D',
      'https://acc.blob.core.windows.net/',
    ],
    [
      "by the account's name",
      'AccountName=acc;SharedAccessSignature=sv=2024-11-04&sp=rwd&sig=a%2Bb%3D',
      'https://acc.blob.core.windows.net',
    ],
  ])('a signature: %s', (_name, text, endpoint) => {
    expect(parseConnectionString(text)).toEqual({
      connectionString: `BlobEndpoint=${endpoint};SharedAccessSignature=sv=2024-11-04&sp=rwd&sig=a%2Bb%3D`,
      endpoint,
    });
  });

  test('the emulator', () => {
    expect(parseConnectionString('UseDevelopmentStorage=true;')).toEqual({
      connectionString: 'UseDevelopmentStorage=true',
      endpoint: 'http://127.0.0.1:10000/devstoreaccount1',
    });
  });

  test.each([
    [`AccountKey=${KEY}`, /lacks AccountName=/],
    [`AccountKey=${KEY};BlobEndpoint=http://x`, /lacks AccountName=/],
    [`AccountName=acc;AccountKey=${KEY.slice(0, -3)}`, /cut off/],
    ['AccountName=acc;AccountKey=hidden secret', /not base64/],
    [`AccountName=acc;AccountKey=${KEY};BlobEndpoint=acc.blob.core.windows.net`, /no address/],
    [`AccountName=a b;AccountKey=${KEY}`, /no address/],
    ['AccountName=acc;SharedAccessSignature=hidden', /neither AccountKey= nor/],
    ['AccountName=acc', /neither AccountKey= nor/],
    ['hidden', /lacks AccountName=/],
  ])('%s is refused, without its value', (text, message) => {
    const result = parseConnectionString(text);
    expect(result).toEqual({ problem: expect.stringMatching(message) });
    expect(JSON.stringify(result)).not.toContain('hidden');
  });
});

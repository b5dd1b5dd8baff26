// SPDX-License-Identifier: GPL-3.0-or-later

import { describe, expect, test } from 'vitest';
import {
  parseAccountUrl,
  parseConnectionString,
} from '../../../../src/providers/azure/addresses.ts';

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

  test.each([
    ['as it was', 'sv=1&sig=a%2Bb%2F%3D'],
    ['a bare "="', 'sv=1&sig=a%2Bb%2F='],
    ['all bare', 'sv=1&sig=a+b/='],
    ['a leading "?"', '?sv=1&sig=a%2Bb%2F%3D'],
    ['"&amp;"', 'sv=1&amp;sig=a%2Bb%2F='],
    ['small letters', 'sv=1&sig=a%2bb%2f%3d'],
    ['blanks and an empty part', ' ?sv=1&&sig=a%2Bb%2F%3D& '],
  ])('a signature is the same to all parts of the SDK: %s', (_name, signature) => {
    const text = `BlobEndpoint=https://acc.blob.core.windows.net;SharedAccessSignature=${signature}`;
    expect(parseConnectionString(text)).toMatchObject({
      connectionString:
        'BlobEndpoint=https://acc.blob.core.windows.net;SharedAccessSignature=sv=1&sig=a%2Bb%2F%3D',
    });
  });

  test('a signature keeps what it says in other places', () => {
    const signature = 'se=2027-01-01T00:00:00Z&spr=https,http&st=2026-01-01T00%3A00%3A00Z&sig=1';
    const result = parseConnectionString(`AccountName=a;SharedAccessSignature=${signature}`);
    if ('problem' in result) throw new Error(result.problem);
    const query = new URLSearchParams(result.connectionString.split('SharedAccessSignature=')[1]);
    expect(Object.fromEntries(query)).toEqual({
      se: '2027-01-01T00:00:00Z',
      spr: 'https,http',
      st: '2026-01-01T00:00:00Z',
      sig: '1',
    });
  });

  const SAS = 'SharedAccessSignature=sv=1&sig=hidden';
  test.each([
    // Its own account is not the container, nor is one of the same name.
    [
      `AccountName=pacs;AccountKey=${KEY};BlobEndpoint=https://pacs.blob.core.windows.net/`,
      undefined,
    ],
    [`AccountName=pacs;AccountKey=${KEY};BlobEndpoint=https://azure.example/pacs`, undefined],
    [`AccountName=a;AccountKey=${KEY};BlobEndpoint=http://127.0.0.1:10000/pacs`, undefined],
    [`BlobEndpoint=http://azurite:10000/pacs;${SAS}`, undefined],
    [`BlobEndpoint=https://azure.example/account;${SAS}`, undefined],
    [
      `BlobEndpoint=https://a.blob.core.windows.net/pacs;${SAS}`,
      'BlobEndpoint=https://a.blob.core.windows.net',
    ],
    [
      `BlobEndpoint=https://a.privatelink.blob.core.windows.net/folder/;${SAS}`,
      'BlobEndpoint=https://a.privatelink.blob.core.windows.net',
    ],
    [
      `AccountName=a;AccountKey=${KEY};BlobEndpoint=http://127.0.0.1:10000/a/pacs`,
      'BlobEndpoint=http://127.0.0.1:10000/a',
    ],
    [`BlobEndpoint=https://azure.example/pacs/;${SAS}`, 'BlobEndpoint=https://azure.example'],
  ])('the container in %s', (text, instead) => {
    const result = parseConnectionString(text, 'pacs');
    if (instead === undefined) expect(result).not.toHaveProperty('problem');
    else {
      expect(result).toEqual({ problem: expect.stringMatching(new RegExp(`write ${instead}$`)) });
    }
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
    [
      'BlobEndpoint=https://a.blob.core.windows.net/?sv=1&sig=hidden;SharedAccessSignature=sv=1&sig=hidden',
      /"\?".*SharedAccessSignature=/,
    ],
    ['https://a.blob.core.windows.net/pacs?sv=1&sig=hidden', /is a URL: write "BlobEndpoint=/],
    [`AccountName=a;AccountKey=${KEY};BlobEndpoint=https://u:hidden@a.example`, /password/],
    ['BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=sv=1&sig=', /neither/],
  ])('%s is refused, without its value', (text, message) => {
    const result = parseConnectionString(text);
    expect(result).toEqual({ problem: expect.stringMatching(message) });
    expect(JSON.stringify(result)).not.toContain('hidden');
  });
});

describe('parseAccountUrl', () => {
  test.each([
    ['https://account.blob.core.windows.net/', 'https://account.blob.core.windows.net'],
    ['https://127.0.0.1:10000/devstoreaccount1/', 'https://127.0.0.1:10000/devstoreaccount1'],
  ])('%j is %j', (text, url) => {
    expect(parseAccountUrl(text)).toEqual({ url });
  });

  test.each([
    ['http://account.blob.core.windows.net', /without TLS/],
    ['http://127.0.0.1:10000/devstoreaccount1', /without TLS/],
    ['https://account.blob.core.windows.net/container', /path.*ContainerName/],
    ['account', /is not the URL/],
    ['account.blob.core.windows.net', /is not the URL/],
    ['https://u:hunter2@account', /is not the URL/],
    ['https://account.blob.core.windows.net/?sv=1&sig=hunter2', /ConnectionString/],
  ])('%j is refused', (text, problem) => {
    const result = parseAccountUrl(text);
    expect(result).toEqual({ problem: expect.stringMatching(problem) });
    expect(JSON.stringify(result)).not.toContain('hunter2');
  });
});

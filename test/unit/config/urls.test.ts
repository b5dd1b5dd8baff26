// SPDX-License-Identifier: GPL-3.0-or-later

import { describe, expect, test } from 'vitest';
import {
  isAddressOrLocalhost,
  isLoopback,
  parseEndpoint,
  parseProxy,
  parseS3Endpoint,
} from '../../../src/config/urls.ts';

describe('parseEndpoint', () => {
  test.each([
    ['s3.fr-par.scw.cloud', 'https://s3.fr-par.scw.cloud'],
    ['minio:9000', 'https://minio:9000'],
    ['localhost:9000', 'https://localhost:9000'],
    ['10.0.0.5', 'https://10.0.0.5'],
    ['[::1]:9000', 'https://[::1]:9000'],
    ['http://localhost:9000/', 'http://localhost:9000'],
    ['http://localhost:80', 'http://localhost'],
    ['HTTPS://S3.Example.org:443/', 'https://s3.example.org'],
    ['https://s3.example.org:8443', 'https://s3.example.org:8443'],
  ])('%j is %j', (text, url) => {
    expect(parseEndpoint(text)).toEqual({ url });
  });

  test.each([
    ['ftp://host', /must not start with "ftp:\/\/"/],
    ['s3://bucket', /must not start with "s3:\/\/"/],
    ['https://host/bucket', /path.*BucketName.*RootPath/],
    ['host/bucket', /path/],
    ['https://host?x=1', /"\?"/],
    ['https://host/?', /"\?"/],
    ['https://host#x', /"#"/],
    ['https://user:hunter2@host', /user or password/],
    ['user:hunter2@host', /user or password/],
    ['::1', /is not an address/],
    ['host:99999', /is not an address/],
    ['a host', /is not an address/],
    ['https://', /is not an address/],
  ])('%j is refused', (text, problem) => {
    const result = parseEndpoint(text);
    expect(result).toEqual({ problem: expect.stringMatching(problem) });
    expect(JSON.stringify(result)).not.toContain('hunter2');
  });
});

test.each([
  ['https://x.supabase.co/storage/v1/s3/', 'https://x.supabase.co/storage/v1/s3'],
  ['minio:9000', 'https://minio:9000'],
])('parseS3Endpoint takes a path: %j is %j', (text, url) => {
  expect(parseS3Endpoint(text)).toEqual({ url });
});

describe('parseProxy', () => {
  test.each([
    ['proxy.example.org:3128', 'http://proxy.example.org:3128'],
    ['http://proxy:3128/', 'http://proxy:3128'],
    ['https://proxy:3129', 'https://proxy:3129'],
    ['me:pass@192.168.0.1:3128', 'http://me:pass@192.168.0.1:3128'],
    ['http://proxy:80', 'http://proxy'],
    ['proxy', 'http://proxy:1080'],
    ['http://me:80@proxy', 'http://me:80@proxy:1080'],
  ])('%j is %j', (text, url) => {
    expect(parseProxy(text)).toEqual({ url });
  });

  test.each([
    ['socks5://u:hunter2@proxy:1080'],
    ['http://proxy:3128/path'],
    ['u:hunter2@'],
    ['a b'],
  ])('%j is refused', (text) => {
    const result = parseProxy(text);
    expect(result).toEqual({ problem: expect.any(String) });
    expect(JSON.stringify(result)).not.toContain('hunter2');
  });
});

test.each([
  ['http://localhost:9000', true, true],
  ['http://127.0.0.1', true, true],
  ['http://[::1]:9000', true, true],
  ['http://10.0.0.5:9000', true, false],
  ['http://minio:9000', false, false],
  ['https://127.example.org', false, false],
  ['https://localhost.example.org', false, false],
])('%j: no subdomains %s, loopback %s', (url, hasNoSubdomains, loopback) => {
  expect(isAddressOrLocalhost(url)).toBe(hasNoSubdomains);
  expect(isLoopback(url)).toBe(loopback);
});

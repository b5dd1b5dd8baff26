// SPDX-License-Identifier: GPL-3.0-or-later

import { describe, expect, test } from 'vitest';
import { createProxyChoice } from '../../../src/http/proxies.ts';
import { makeProxies } from '../../support/settings.ts';

describe('createProxyChoice', () => {
  test('knows one proxy for each scheme', () => {
    const { http } = makeProxies('http://one:1');
    const { https } = makeProxies('http://two:2');
    const choose = createProxyChoice({ http, https, exceptions: '' });
    expect(choose('http://store.example')).toBe(http);
    expect(choose('https://store.example')).toBe(https);
    const tlsOnly = createProxyChoice({ http: undefined, https, exceptions: '' });
    expect(tlsOnly('http://store.example')).toBeUndefined();
  });

  test.each([
    'http://127.0.0.1:9000',
    'http://localhost',
    'http://[::1]:1',
    'http://169.254.169.254',
    'http://metadata.google.internal',
    'http://[fd00:ec2::23]',
  ])('%s is reached straight', (url) => {
    expect(createProxyChoice(makeProxies('http://p:1'))(url)).toBeUndefined();
  });

  test.each([
    ['*', 'https://any.example', true],
    ['store.example', 'https://store.example', true],
    ['store.example', 'https://STORE.example:9000', true],
    ['store.example', 'https://bucket.store.example', true],
    ['store.example', 'https://bookstore.example', false],
    ['.store.example', 'https://bucket.store.example', true],
    ['*.store.example', 'https://bucket.store.example', true],
    ['other, store.example', 'https://store.example', true],
    ['other store.example', 'https://store.example', true],
    ['store.example:443', 'https://store.example', true],
    ['store.example:443', 'http://store.example', false],
    ['store.example:9000', 'http://store.example:9000', true],
    ['10.0.0.5', 'http://10.0.0.5:9000', true],
    ['10.0.0.5:9000', 'http://10.0.0.5:9000', true],
    ['10.0.0.5:9000', 'http://10.0.0.5', false],
    ['10.0.0.0/8', 'http://10.1.2.3', true],
    ['10.0.0.0/8', 'http://11.1.2.3', false],
    ['10.0.0.0/99', 'http://10.1.2.3', false],
    ['fd12::/16', 'http://[fd12:3::4]:9000', true],
    ['[fd12::1]', 'http://[fd12::1]', true],
    ['fd12::1', 'http://[fd12::2]', false],
    ['', 'https://store.example', false],
    [',', 'https://store.example', false],
  ])('NO_PROXY %j, %s: straight %s', (exceptions, url, isStraight) => {
    const proxy = createProxyChoice(makeProxies('http://p:1', exceptions))(url);
    expect(proxy === undefined).toBe(isStraight);
  });
});

// SPDX-License-Identifier: GPL-3.0-or-later
// Signature Version 4 by the book, beside the SDK's: whether a server that knows the key would accept a request.
// @see https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

import { createHash, createHmac } from 'node:crypto';
import type { RecordedRequest } from './scripted-server.ts';

export function isSigned(request: SignedRequest, secretKey: string): boolean {
  return (
    request.headers['authorization']?.split('Signature=')[1] === signatureOf(request, secretKey)
  );
}

type SignedRequest = Pick<RecordedRequest, 'method' | 'url' | 'headers'>;

/** Of the headers that `authorization` names, in its scope. */
export function signatureOf({ method, url, headers }: SignedRequest, secretKey: string): string {
  const [, scope = '', names = ''] =
    /^AWS4-HMAC-SHA256 Credential=[^/]+\/(\S+), SignedHeaders=(\S+), Signature=/.exec(
      headers['authorization'] ?? '',
    ) ?? [];
  const { pathname, searchParams } = new URL(url, 'http://server');
  const query = [...searchParams]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort()
    .join('&');
  const signed = names.split(';').map((name) => `${name}:${headers[name]?.trim()}\n`);
  const canonical = [
    method,
    pathname,
    query,
    signed.join(''),
    names,
    headers['x-amz-content-sha256'],
  ].join('\n');
  const digest = createHash('sha256').update(canonical).digest('hex');
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, digest].join('\n');
  const hmac = (key: string | Buffer, part: string) =>
    createHmac('sha256', key).update(part).digest();
  const key = scope.split('/').reduce<string | Buffer>(hmac, `AWS4${secretKey}`);
  return hmac(key, text).toString('hex');
}

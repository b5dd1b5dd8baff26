// SPDX-License-Identifier: GPL-3.0-or-later

import { unescape as unescapePercent } from 'node:querystring';
import { InvalidArgumentError, Option } from 'commander';
import { StorageError } from '../errors.ts';
import { createOrthancApi, type OrthancApi } from '../orthanc-api.ts';
import { abortReason } from '../store/abort.ts';
import type { OperationOptions } from '../store/object-store.ts';

/** Orthanc's REST API from outside. @param url may hold user and password, which no message shows */
export function connectToOrthanc(url: URL, { signal }: Partial<OperationOptions> = {}): OrthancApi {
  const base = `${url.origin}${url.pathname.replace(/\/$/, '')}`;
  // Unlike decodeURIComponent it takes a "%" that stands for itself.
  const user = unescapePercent(url.username);
  const password = unescapePercent(url.password);
  const headers: Record<string, string> =
    user === ''
      ? {}
      : { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` };
  return createOrthancApi(async (method, path) => {
    const { status, body } = await exchange(base, path, {
      method,
      headers,
      signal: signal ?? null,
    });
    if (status !== 401) return { status, body };
    throw new StorageError(
      'ACCESS_DENIED',
      `Orthanc at ${base} asks for ${user === '' ? 'a user and a password' : 'another user or password'}: --orthanc ${url.protocol}//USER:PASSWORD@${url.host}`,
    );
  });
}

async function exchange(base: string, path: string, request: RequestInit) {
  try {
    const response = await fetch(`${base}${path}`, request);
    return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) };
  } catch (cause) {
    if (request.signal?.aborted === true) throw abortReason(request.signal);
    throw new StorageError('UNAVAILABLE', `Orthanc does not answer at ${base}${explain(cause)}`, {
      cause,
    });
  }
}

/** fetch itself only says that it failed. */
function explain(thrown: unknown): string {
  const cause = thrown instanceof Error ? thrown.cause : undefined;
  if (!(cause instanceof Error) || !('code' in cause)) return '';
  const code = String(cause.code);
  return /CERT|UNABLE_TO_/.test(code)
    ? `: its certificate is not trusted (${code}); name its authority's PEM file in the environment variable NODE_EXTRA_CA_CERTS`
    : ` (${code})`;
}

/** For commander. */
export function parseOrthancUrl(text: string): URL {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) {
    throw new InvalidArgumentError('must be a URL such as http://127.0.0.1:8042');
  }
  return new URL(text);
}

/** --orthanc, of the commands that ask a running Orthanc. */
export function orthancOption(): Option {
  return new Option(
    '--orthanc <url>',
    "Orthanc's REST API, with user and password if it asks for them",
  )
    .argParser(parseOrthancUrl)
    .default(new URL('http://127.0.0.1:8042'), 'http://127.0.0.1:8042');
}

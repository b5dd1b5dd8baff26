// SPDX-License-Identifier: GPL-3.0-or-later

import { InvalidArgumentError, Option } from 'commander';
import { StorageError } from '../errors.ts';
import { createOrthancApi, type OrthancApi } from '../orthanc-api.ts';

/** Orthanc's REST API from outside. @param url may hold user and password */
export function connectToOrthanc(url: URL): OrthancApi {
  const base = `${url.origin}${url.pathname.replace(/\/$/, '')}`;
  const user = decodeURIComponent(url.username);
  const password = decodeURIComponent(url.password);
  const headers: Record<string, string> =
    user === ''
      ? {}
      : { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` };
  return createOrthancApi(async (method, path) => {
    try {
      const response = await fetch(`${base}${path}`, { method, headers });
      return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) };
    } catch (error) {
      // The address without its password.
      throw new StorageError('UNAVAILABLE', `Orthanc does not answer at ${base}`, { cause: error });
    }
  });
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

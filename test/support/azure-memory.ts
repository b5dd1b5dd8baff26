// SPDX-License-Identifier: GPL-3.0-or-later
// Azure Blob Storage in memory, for the scripted server: writes whole and in blocks, reads, removals, one container that exists.
// It verifies and gives back MD5s as Azure does; who may do what, azurite's tests tell.

import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type {
  AnswerFromMemory,
  Memory,
  RecordedRequest,
  ScriptedServer,
  Step,
} from './scripted-server.ts';
import { TEST_ACCOUNT_KEY } from './settings.ts';

export const TEST_REQUEST_ID = 'REQUEST0ID';

/** The connection string of account "account" at a scripted server. */
export function connectionStringOf({ endpoint }: Pick<ScriptedServer, 'endpoint'>): string {
  return `AccountName=account;AccountKey=${TEST_ACCOUNT_KEY};BlobEndpoint=${endpoint}/account`;
}

export function md5Of(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('base64');
}

export const answerAzure: AnswerFromMemory = (memory, request, body, response) => {
  const url = new URL(request.url, 'http://server');
  const path = decodeURIComponent(url.pathname);
  response.setHeader('x-ms-request-id', TEST_REQUEST_ID);
  const id = request.headers['x-ms-client-request-id'];
  if (id !== undefined) response.setHeader('x-ms-client-request-id', id);
  if (request.headers['host']?.startsWith(ENTRA_HOST) === true) {
    answerEntra(path, response);
    return;
  }
  if (url.searchParams.get('restype') === 'container') {
    answerCreated(response);
    return;
  }
  switch (request.method) {
    case 'PUT':
      answerPut(memory, path, url, request, body, response);
      return;
    case 'GET':
    case 'HEAD':
      answerRead(memory, path, request, response);
      return;
    case 'DELETE':
      if (memory.objects.delete(path)) response.writeHead(202, { 'content-length': 0 }).end();
      else answerAzureError(response, 404, 'BlobNotFound');
      return;
    default:
      answerAzureError(response, 405, 'UnsupportedHttpVerb');
  }
};

/** What gives out tokens. */
export const ENTRA_HOST = 'login.microsoftonline.com';
export const TEST_TOKEN = 'test-token-that-no-log-may-show';

function answerEntra(path: string, response: ServerResponse): void {
  const base = `https://${ENTRA_HOST}/tenant`;
  if (path.endsWith('/discovery/instance')) {
    answerJson(response, 200, {
      tenant_discovery_endpoint: `${base}/v2.0/.well-known/openid-configuration`,
      metadata: [
        {
          preferred_network: ENTRA_HOST,
          preferred_cache: 'login.windows.net',
          aliases: [ENTRA_HOST, 'login.windows.net'],
        },
      ],
    });
  } else if (path.endsWith('/openid-configuration')) {
    answerJson(response, 200, {
      issuer: `${base}/v2.0`,
      authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
      token_endpoint: `${base}/oauth2/v2.0/token`,
      jwks_uri: `${base}/discovery/v2.0/keys`,
    });
  } else {
    answerJson(response, 200, { token_type: 'Bearer', expires_in: 3600, access_token: TEST_TOKEN });
  }
}

export function answerJson(response: ServerResponse, status: number, value: unknown): void {
  const json = JSON.stringify(value);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(json)),
  });
  response.end(json);
}

function answerPut(
  { objects, uploads }: Memory,
  path: string,
  url: URL,
  request: RecordedRequest,
  body: Buffer,
  response: ServerResponse,
): void {
  const md5 = request.headers['content-md5'];
  if (md5 !== undefined && md5 !== md5Of(body)) {
    answerAzureError(response, 400, 'Md5Mismatch');
    return;
  }
  const blocks = uploads.get(path) ?? new Map<number, Buffer>();
  if (url.searchParams.get('comp') === 'block') {
    blocks.set(numberOf(url.searchParams.get('blockid') ?? ''), body);
    uploads.set(path, blocks);
  } else if (url.searchParams.get('comp') === 'blocklist') {
    const ids = Array.from(body.toString().matchAll(/<Latest>([^<]*)<\/Latest>/g), ([, id = '']) =>
      blocks.get(numberOf(id)),
    );
    if (ids.length === 0 || ids.includes(undefined)) {
      answerAzureError(response, 400, 'InvalidBlockList');
      return;
    }
    uploads.delete(path);
    objects.set(path, {
      bytes: Buffer.concat(ids.filter((block) => block !== undefined)),
      headers: headersOf(request, request.headers['x-ms-blob-content-md5']),
    });
  } else {
    objects.set(path, { bytes: body, headers: headersOf(request, md5Of(body)) });
  }
  answerCreated(response);
}

/** Our ids end with the block's number. */
function numberOf(blockId: string): number {
  return Number(Buffer.from(blockId, 'base64').toString().split('-').at(-1));
}

function headersOf(
  request: RecordedRequest,
  md5: string | undefined,
): Readonly<Record<string, string>> {
  const headers: Record<string, string> = { etag: '"etag"' };
  for (const [name, value = ''] of Object.entries(request.headers)) {
    if (name.startsWith('x-ms-meta-')) headers[name] = value;
  }
  return md5 === undefined ? headers : { ...headers, 'content-md5': md5 };
}

function answerCreated(response: ServerResponse): void {
  response.writeHead(201, { etag: '"etag"', 'content-length': 0 }).end();
}

function answerRead(
  { objects }: Memory,
  path: string,
  request: RecordedRequest,
  response: ServerResponse,
): void {
  const object = objects.get(path);
  if (object === undefined) {
    answerAzureError(response, 404, 'BlobNotFound');
    return;
  }
  const { bytes, headers } = object;
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers['x-ms-range'] ?? '');
  if (range === null) {
    response.writeHead(200, { ...headers, 'content-length': bytes.length });
    response.end(request.method === 'HEAD' ? undefined : bytes);
    return;
  }
  const first = Number(range[1]);
  const part = bytes.subarray(first, Number(range[2]) + 1);
  if (part.length === 0) {
    answerAzureError(response, 416, 'InvalidRange');
    return;
  }
  const { 'content-md5': md5, ...others } = headers;
  const isMd5Wanted = request.headers['x-ms-range-get-content-md5'] === 'true';
  response.writeHead(206, {
    ...others,
    ...(md5 === undefined ? {} : { 'x-ms-blob-content-md5': md5 }),
    ...(isMd5Wanted ? { 'content-md5': md5Of(part) } : {}),
    'content-range': `bytes ${first}-${first + part.length - 1}/${bytes.length}`,
    'content-length': part.length,
  });
  response.end(part);
}

export interface AzureErrorOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly xml?: string;
  /** The server's words. */
  readonly message?: string;
}

/** An error as Azure writes it. */
export function answerAzureError(
  response: ServerResponse,
  status: number,
  code: string,
  options: AzureErrorOptions = {},
): void {
  const xml = `\uFEFF<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${options.message ?? `The message of ${code}.`}\nRequestId:${TEST_REQUEST_ID}\nTime:2026-11-24T08:00:00.0000000Z</Message>${
    options.xml ?? ''
  }</Error>`;
  response.writeHead(status, {
    'x-ms-request-id': TEST_REQUEST_ID,
    'x-ms-error-code': code,
    'content-type': 'application/xml',
    'content-length': String(Buffer.byteLength(xml)),
    ...options.headers,
  });
  response.end(response.req.method === 'HEAD' ? undefined : xml);
}

/** Reads the request, then answers with an error. */
export function failAzure(status: number, code: string, options: AzureErrorOptions = {}): Step {
  return async ({ readBody, response }) => {
    await readBody();
    answerAzureError(response, status, code, options);
  };
}

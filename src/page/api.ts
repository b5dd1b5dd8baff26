// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc's REST API and the plugin's, from a browser, perhaps through a proxy that puts both below a path of its own.

import { field } from '../orthanc/api.ts';

/** What comes before /object-storage/app in the page's address. By two slashes, another host would be asked. */
const prefix = location.pathname
  .slice(0, location.pathname.lastIndexOf('/object-storage/app'))
  .replace(/^\/+/, '/');

const ANSWER_MS = 10_000;
/** Of an answer in plain text, which is the shim's; longer ones are a proxy's. */
const WORDS_MAX = 300;

export type Refusal = 'unreachable' | 'unauthorized' | 'forbidden' | 'missing' | 'failed';

export class ApiError extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal, message: string) {
    super(message);
    this.refusal = refusal;
  }
}

export function urlOf(path: string): string {
  return `${prefix}${path}`;
}

/** @throws ApiError, whose message is a sentence for the user */
export async function getJson(path: string, signal?: AbortSignal): Promise<unknown> {
  return await ask(path, { signal: signal ?? null });
}

/** As getJson, of what answers at once: an Orthanc that hangs does not answer. */
export async function pollJson(path: string, timeoutMs = ANSWER_MS): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    return await getJson(path, signal);
  } catch (error) {
    throw error instanceof ApiError ? error : unreachable();
  }
}

/** @throws ApiError */
export async function postJson(
  path: string,
  body: unknown,
  signal?: AbortSignal,
): Promise<unknown> {
  return await ask(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
}

/** @throws ApiError */
export async function postText(path: string, body: string, signal: AbortSignal): Promise<unknown> {
  return await ask(path, { method: 'POST', body, signal });
}

async function ask(path: string, init: RequestInit): Promise<unknown> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(urlOf(path), {
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'manual',
      ...init,
    });
    text = await response.text();
  } catch (error) {
    if (init.signal?.aborted === true) throw error;
    throw unreachable();
  }
  // A proxy leads to its own page where users sign in.
  if (response.type === 'opaqueredirect' || isHtml(response)) throw refusalOf(401, '');
  const value = parse(text);
  if (response.ok && value !== undefined) return value;
  const said = field(value, 'error') ?? field(value, 'Message') ?? plainWords(response, text);
  throw refusalOf(response.status, typeof said === 'string' ? said : '');
}

function unreachable(): ApiError {
  return new ApiError('unreachable', 'Orthanc does not answer.');
}

function isHtml({ ok, headers }: Response): boolean {
  return ok && headers.get('content-type')?.startsWith('text/html') === true;
}

function plainWords({ headers }: Response, text: string): string {
  const isPlain = headers.get('content-type')?.startsWith('text/plain') === true;
  return isPlain && text.length <= WORDS_MAX ? text.trim() : '';
}

function refusalOf(status: number, words: string): ApiError {
  switch (status) {
    case 401:
      return new ApiError(
        'unauthorized',
        'Orthanc asks for a user and a password: reload the page and sign in.',
      );
    case 403:
      return new ApiError('forbidden', 'Orthanc does not allow this to the user of this browser.');
    case 404:
      return new ApiError('missing', words || 'Orthanc has no such thing.');
    case 502:
    case 503:
    case 504:
      return new ApiError('unreachable', words || `Orthanc is not ready (HTTP ${status}).`);
    default:
      return new ApiError('failed', words || `Orthanc answers HTTP ${status}.`);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text.trim() === '' ? {} : undefined;
  }
}

/** Of an answer: a text in it, or "". */
export function textOf(value: unknown, key: string): string {
  const text = field(value, key);
  return typeof text === 'string' ? text : '';
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

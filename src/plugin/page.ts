// SPDX-License-Identifier: GPL-3.0-or-later
// GET /object-storage/app/: the page, made from src/page.

import { createHash } from 'node:crypto';
import { once } from '../store/once.ts';
import type { RestRequest, RestResponse } from './bridge.ts';
import type { PageFiles } from './page-files.ts';

const INDEX = 'index.html';

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  // Under this name, Orthanc compresses it where HttpCompressionEnabled is true.
  js: 'application/javascript; charset=utf-8',
};

/** Nothing from elsewhere, nothing inline, and no text that becomes HTML. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  // The icon is in the page itself.
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'self'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

export interface Page {
  /** @returns undefined for a path that is none of its own */
  answer(request: Pick<RestRequest, 'path' | 'header'>): Promise<RestResponse | undefined>;
}

export function createPage(load: () => Promise<PageFiles> = loadFiles): Page {
  const files = once(async () => tagAll(await load()));
  return {
    async answer({ path, header }) {
      const name = fileNameIn(path);
      if (name === undefined) return undefined;
      const file = (await files()).get(name);
      if (file === undefined) return undefined;
      const { body, tag, contentType } = file;
      const headers = {
        // Asked for each time, and mostly answered by 304: the files of two versions never mix.
        'Cache-Control': 'private, no-cache',
        ETag: tag,
        'Content-Security-Policy': CONTENT_SECURITY_POLICY,
        'Referrer-Policy': 'no-referrer',
        'X-Content-Type-Options': 'nosniff',
      };
      return isSame(header('if-none-match'), tag)
        ? { status: 304, contentType, body: new Uint8Array(), headers }
        : { status: 200, contentType, body, headers };
    },
  };
}

/** Orthanc hides a slash at the end of a path, so the page does not know where its browser looks for the files beside it: in /object-storage
 *  if its address has none. */
function fileNameIn(path: string): string | undefined {
  if (path === '/object-storage/app') return INDEX;
  const [, folder, name] = /^\/object-storage\/(app\/)?([a-z]+\.[a-z]+)$/.exec(path) ?? [];
  // There it would take all of its address for what a proxy puts before.
  return folder === undefined && name === INDEX ? undefined : name;
}

interface TaggedFile {
  readonly body: Uint8Array;
  readonly tag: string;
  readonly contentType: string;
}

function tagAll(files: PageFiles): ReadonlyMap<string, TaggedFile> {
  return new Map(
    Object.entries(files).map(([name, text]) => {
      const body = Buffer.from(text);
      const digest = createHash('sha256').update(body).digest('base64url').slice(0, 22);
      const contentType = CONTENT_TYPES[name.split('.').at(-1) ?? ''] ?? 'text/plain';
      return [name, { body, tag: `"${digest}"`, contentType }];
    }),
  );
}

/** @param wanted a list; proxies that compress mark their tags as weak */
function isSame(wanted: string | undefined, tag: string): boolean {
  return (wanted ?? '').split(',').some((one) => one.trim().replace(/^W\//, '') === tag);
}

async function loadFiles(): Promise<PageFiles> {
  return (await import('./page-files.ts')).pageFiles;
}

// SPDX-License-Identifier: GPL-3.0-or-later

import { expect, test } from 'vitest';
import { createPage } from '../../../src/plugin/page.ts';

const FILES = { 'index.html': '<!doctype html>', 'page.js': 'export {};', 'page.css': 'a{}' };

async function ask(path: string, headers: Readonly<Record<string, string>> = {}) {
  const page = createPage(() => Promise.resolve(FILES));
  return await page.answer({ path, header: (name) => headers[name] });
}

// Orthanc tells neither from the other.
test.each(['/object-storage/app', '/object-storage/app/index.html'])(
  '%s is the page',
  async (path) => {
    const answer = await ask(path);
    expect(answer).toMatchObject({ status: 200, contentType: 'text/html; charset=utf-8' });
    expect(Buffer.from(answer?.body ?? '').toString()).toBe(FILES['index.html']);
  },
);

test.each(['/object-storage/app/page.js', '/object-storage/page.js'])(
  '%s, with and without a slash at the end of the address',
  async (path) => {
    expect(await ask(path)).toMatchObject({
      status: 200,
      contentType: 'application/javascript; charset=utf-8',
    });
  },
);

test.each([
  '/object-storage/app/other.js',
  '/object-storage/app/../page.js',
  '/object-storage/app/app/page.js',
  '/object-storage/app/constructor',
  '/object-storage/index.html',
  '/object-storage/status',
])('%s is none of its files', async (path) => {
  expect(await ask(path)).toBeUndefined();
});

test('nothing inline, nothing from elsewhere, no text as HTML', async () => {
  const headers = (await ask('/object-storage/app'))?.headers ?? {};
  expect(headers['Content-Security-Policy']).toMatch(/^default-src 'none'; script-src 'self';/);
  expect(headers['Content-Security-Policy']).toContain("require-trusted-types-for 'script'");
  expect(headers['Content-Security-Policy']).not.toMatch(/unsafe|http|\*/);
  expect(headers['Cache-Control']).toBe('private, no-cache');
});

test('who has it already gets nothing', async () => {
  const first = await ask('/object-storage/app/page.css');
  const tag = first?.headers?.['ETag'] ?? '';
  expect(tag).toMatch(/^"[\w-]{22}"$/);
  for (const wanted of [tag, `W/${tag}`, `"other", ${tag}`]) {
    const again = await ask('/object-storage/app/page.css', { 'if-none-match': wanted });
    expect(again).toMatchObject({ status: 304, body: new Uint8Array(), headers: { ETag: tag } });
  }
  expect(await ask('/object-storage/app/page.js', { 'if-none-match': tag })).toMatchObject({
    status: 200,
  });
});

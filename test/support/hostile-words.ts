// SPDX-License-Identifier: GPL-3.0-or-later
// What servers, gateways and proxies may say in an error: by mistake, or because they want to do harm.

import { expect } from 'vitest';
import type { Step } from './scripted-server.ts';

/** Each holds "hunter2" where a secret is. */
export const HOSTILE_WORDS: readonly (readonly [string, string])[] = [
  ["the request's URL", 'no route to https://a.test/c/k?sv=1&sig=hunter2%2Fhunter2&se=2'],
  ['its URL in a page', 'https://a.test/c/k?sv=1&amp;sig=hunter2%2Bhunter2&amp;se=2'],
  ['its URL in JSON', String.raw`"https:\/\/a.test\/c\/k?sv=1\u0026sig=hunter2\u0026se=2"`],
  ['its URL in another', 'next=https%3A%2F%2Fa.test%2Fk%3Fsv%3D1%26sig%3Dhunter2%252F%26se%3D2'],
  [
    'its headers',
    'PUT /k\r\nauthorization: Basic hunter2\r\nx-amz-security-token: hunter2\r\n\r\n',
  ],
  ['its headers in JSON', String.raw`{\"Authorization\":[\"Bearer hunter2\"]}`],
  ['a password in an address', 'cannot connect to http://user:hunter2@proxy.test:3128/'],
  ['a password that is cut off', 'login="x" password="hunter2 hunter2'],
  ['a password of backslashes', `password="${'\\'.repeat(60)}`],
  ['very many backslashes', `"token": "${'\\'.repeat(400_000)}`],
  ['very many blanks', `password${' '.repeat(400_000)}=${' '.repeat(400_000)}"`],
  ['very many addresses', 'https://a@'.repeat(40_000)],
  ['very many beginnings of keys', '-----BEGIN PRIVATE KEY-----'.repeat(15_000)],
  ['orders to a terminal', 'a\u001b[2J\u001b]0;title\u0007\u009b31m\u0085\u0008\u007fb'],
  ['directions of writing', 'a\u202egnp.exe\u2066b\u2069\u200f'],
  ['what nobody sees', 'a\u200b\u200d\u2060\ufeff\u00ad\u{e0041}b'],
  ['ends of lines', 'a\nE1124 12:00:00 forged\r\nb\u2028c\u2029d\u000be'],
];

/** For a message in XML. */
export function escapeXml(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

/** What a gateway says, in plain text. */
export function answerText(words: string, status = 400): Step {
  return async ({ readBody, response }) => {
    await readBody();
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(words);
  };
}

/** That it can be shown anywhere. */
export function expectSafeLine(line: string): void {
  expect(line).not.toMatch(/hunter2/);
  expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
  expect(line.length).toBeLessThan(2_100);
}

// SPDX-License-Identifier: GPL-3.0-or-later
// How an answer of the store's is told from one that was given in its place: proxies, web filters, gateways and portals answer pages
// of their own, with status 200 and to any method. A write that such a page "acknowledges" would be lost.

import type { Answer, Headers } from './transport.ts';

/** Whether there is a header that only servers of one kind send. @param family of their names, such as /^x-ms-/ */
export function hasHeaderOf(family: RegExp, headers: Headers): boolean {
  return Object.keys(headers).some((name) => family.test(name));
}

/** Any web server gives its pages an ETag as well. */
export function isPage(headers: Headers): boolean {
  return /^text\/html\b/i.test(headers['content-type'] ?? '');
}

/** Whether an answer would be believed: a success, or a refusal as a page, such as "403 Forbidden" of a filter or "413 Request Entity
 *  Too Large" of a gateway. Other errors are repeated and explained by their status, whosever they are. */
export function isClaim({ status, headers }: Answer): boolean {
  const isRefusal = status >= 400 && status < 500 && status !== 408 && status !== 429;
  return (status >= 200 && status < 300) || (isRefusal && isPage(headers));
}

const MAX_VALUE = 80;

/** Who that was, as far as he says. Never the body: it is somebody's page. */
export function describeAnswer({ status, headers }: Answer): string {
  const { 'content-type': type = 'no Content-Type', server, via } = headers;
  const names = Object.entries({ Server: server, Via: via })
    .filter(([, value]) => value !== undefined)
    .map(([name, value = '']) => `, ${name} "${value.slice(0, MAX_VALUE)}"`);
  return `status ${status}, ${type.slice(0, MAX_VALUE)}${names.join('')}`;
}

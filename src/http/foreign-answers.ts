// SPDX-License-Identifier: GPL-3.0-or-later
// Foreign answers: those that somebody else gives in the store's place. Proxies, web filters, gateways and portals answer pages of their
// own, with status 200 and to any method. A write that such a page "acknowledges" would be lost.

import type { Answer, Headers } from './transport.ts';
import { oneLine, textOf } from './words.ts';

/** Whether there is a header that only servers of one kind send. @param family of their names, such as /^x-ms-/ */
export function hasHeaderOf(family: RegExp, headers: Headers): boolean {
  return Object.keys(headers).some((name) => family.test(name));
}

/** Any web server gives its pages an ETag as well. */
export function isPage(headers: Headers): boolean {
  return /^text\/html\b/i.test(headers['content-type'] ?? '');
}

/** Whether an answer must be the store's own: a success, or a refusal as a page, such as "403 Forbidden" of a filter or "413 Request
 *  Entity Too Large" of a gateway. Other errors are repeated and explained by their status, whoever gave them. */
export function mustBeFromStore({ status, headers }: Answer): boolean {
  const isRefusal = status >= 400 && status < 500 && status !== 408 && status !== 429;
  return (status >= 200 && status < 300) || (isRefusal && isPage(headers));
}

/** For messages: a refusal that is not in the protocol's words, such as a gateway's "no healthy upstream" or the empty answer to a HEAD.
 *  Shows nothing of a page, and nothing of what was signed. */
export function describeRefusal(answer: Answer): string {
  const { status, headers, body } = answer;
  if (body.length === 0) return `status ${status} without a reason${namesOf(headers)}`;
  const isPlain = /^(text\/plain|application\/json)\b/i.test(headers['content-type'] ?? '');
  const words = isPlain ? oneLine(textOf(body), MAX_WORDS) : '';
  const isShown = words !== '' && !/signature|authorization|credential|token/i.test(words);
  return `${describeAnswer(answer)}${isShown ? `: ${words}` : ''}`;
}

const MAX_WORDS = 160;
const MAX_VALUE = 80;
/** What stands in front of servers, by its header `Server`. */
const GATEWAYS =
  /nginx|openresty|apache|haproxy|envoy|caddy|traefik|cloudflare|squid|varnish|awselb|akamai|big-?ip|iis|kong/i;

/** For messages: the proxies and gateways that an answer and the settings tell of.
 *  @param proxySetting that names the proxy */
export function describeBetween(
  { via, server = '' }: Headers,
  proxySetting: string | undefined,
): string {
  const seen = [
    ...(proxySetting === undefined ? [] : [`the requests go through ${proxySetting}`]),
    ...(via === undefined ? [] : [`the answer came via "${via.slice(0, MAX_VALUE)}"`]),
    ...(GATEWAYS.test(server) ? [`the answer is from "${server.slice(0, MAX_VALUE)}"`] : []),
  ];
  return seen.length === 0 ? '' : ` (${seen.join(', ')})`;
}

/** For messages: status, type and the names that the answer gives. The body is left out, since it may be anybody's page. */
export function describeAnswer({ status, headers }: Answer): string {
  const { 'content-type': type = 'no Content-Type' } = headers;
  return `status ${status}, ${type.slice(0, MAX_VALUE)}${namesOf(headers)}`;
}

function namesOf({ server, via }: Headers): string {
  return Object.entries({ Server: server, Via: via })
    .filter(([, value]) => value !== undefined)
    .map(([name, value = '']) => `, ${name} "${value.slice(0, MAX_VALUE)}"`)
    .join('');
}

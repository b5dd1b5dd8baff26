// SPDX-License-Identifier: GPL-3.0-or-later
// Parses addresses in settings. Problems never repeat the value, which may hold a password.

import { isIP } from 'node:net';

export type UrlResult = { readonly url: string } | { readonly problem: string };

const HOW_TO_WRITE = 'write a host, host:port, or a URL like "https://s3.example.org:9000"';

/** @returns scheme, host and port, if it is not the default port */
export function parseEndpoint(text: string): UrlResult {
  const result = parseS3Endpoint(text);
  if ('url' in result && hasPath(result.url)) {
    return {
      problem: `must not hold a path: ${HOW_TO_WRITE}; the bucket belongs in BucketName, a folder in RootPath`,
    };
  }
  return result;
}

/** The address may have a path. A bare host means https, as in the C++ plugin.
 *  @returns the URL without a slash at its end */
export function parseS3Endpoint(text: string): UrlResult {
  const scheme = schemeOf(text);
  if (scheme !== undefined && !/^https?$/.test(scheme)) {
    return { problem: `must not start with "${scheme}://": ${HOW_TO_WRITE}` };
  }
  const url = toUrl(scheme === undefined ? `https://${text}` : text);
  if (url === undefined || url.hostname === '' || /\s/.test(text)) {
    return { problem: `is not an address: ${HOW_TO_WRITE}` };
  }
  if (url.username !== '' || url.password !== '') {
    return { problem: 'must not hold a user or password' };
  }
  if (url.search !== '' || url.hash !== '' || /[?#]/.test(text)) {
    return { problem: `must not hold "?" or "#": ${HOW_TO_WRITE}` };
  }
  return { url: withoutSlash(url) };
}

// The default of libcurl (CURLOPT_PROXYPORT) and so of Orthanc.
const PROXY_DEFAULT_PORT = 1080;

/** Orthanc's `HttpProxy`: `[http://][user:password@]host[:port]`. */
export function parseProxy(text: string): UrlResult {
  const howToWrite =
    'write host:port, user:password@host:port, or either behind "http://"; "/", "@" and the like in a password as %2F, %40';
  const scheme = schemeOf(text);
  if (scheme !== undefined && !/^https?$/.test(scheme)) {
    return { problem: `a proxy of kind "${scheme}" is not supported: ${howToWrite}` };
  }
  const url = toUrl(scheme === undefined ? `http://${text}` : text);
  if (url === undefined || url.hostname === '' || url.pathname !== '/' || url.search !== '') {
    return { problem: `is not a proxy: ${howToWrite}` };
  }
  const hasPort = /:\d{1,9}\/?$/.test(text);
  if (!hasPort) url.port = String(PROXY_DEFAULT_PORT);
  return { url: url.href.replace(/\/$/, '') };
}

/** Such hosts have no subdomains, so a bucket cannot be one. */
export function isAddressOrLocalhost(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === 'localhost' || isIP(hostname.replace(/^\[|\]$/g, '')) !== 0;
}

/** Traffic to such hosts stays on this machine. */
export function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return (
    hostname === 'localhost' ||
    hostname === '[::1]' ||
    (isIP(hostname) === 4 && hostname.startsWith('127.'))
  );
}

/** True for this machine and the metadata services of clouds. */
export function needsNoProxy(url: string): boolean {
  const { hostname } = new URL(url);
  return (
    isLoopback(url) ||
    hostname === 'metadata.google.internal' ||
    hostname.startsWith('169.254.') ||
    // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
    hostname.startsWith('[fd00:ec2:')
  );
}

export function hasPath(url: string): boolean {
  return new URL(url).pathname !== '/';
}

export function withoutSlash(url: URL): string {
  return `${url.protocol}//${url.host}${withoutSlashes(url.pathname)}`;
}

/** Without slashes at the end. */
export function withoutSlashes(path: string): string {
  let end = path.length;
  while (path[end - 1] === '/') end -= 1;
  return path.slice(0, end);
}

function schemeOf(text: string): string | undefined {
  return /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
}

export function toUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

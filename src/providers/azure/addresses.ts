// SPDX-License-Identifier: GPL-3.0-or-later
// How users name an account: by its URL, or by a connection string. Of that the SDK wants all parts, in its spelling; the C++ SDK, and so
// the strings in use, does with fewer.

import {
  isAddressOrLocalhost,
  toUrl,
  type UrlResult,
  withoutSlash,
  withoutSlashes,
} from '../../config/urls.ts';

/** The parts that concern Blob Storage. @see https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string */
const PARTS = [
  'UseDevelopmentStorage',
  'DefaultEndpointsProtocol',
  'AccountName',
  'AccountKey',
  'SharedAccessSignature',
  'BlobEndpoint',
  'EndpointSuffix',
] as const;

type Part = (typeof PARTS)[number];

export type ConnectionStringResult =
  | {
      /** As the SDK understands it: with the address of the blob service. */
      readonly connectionString: string;
      readonly endpoint: string;
    }
  | {
      /** Names the part which is missing or wrong, never its value. */
      readonly problem: string;
    };

const HOW_TO_SPLIT =
  'write "BlobEndpoint=https://account.blob.core.windows.net;SharedAccessSignature=" and behind it what follows the "?"; the container belongs in ContainerName';

/** Azurite's, which the SDK knows under that name. */
const DEVELOPMENT = {
  connectionString: 'UseDevelopmentStorage=true',
  endpoint: 'http://127.0.0.1:10000/devstoreaccount1',
};

/** @param container for who wants to know whether the address holds it, too */
export function parseConnectionString(text: string, container = ''): ConnectionStringResult {
  const parts = readParts(text);
  if (parts.get('UseDevelopmentStorage')?.toLowerCase() === 'true') {
    return DEVELOPMENT;
  }
  const account = parts.get('AccountName');
  const key = parts.get('AccountKey');
  const signature = parts.get('SharedAccessSignature');
  const address = parts.get('BlobEndpoint') ?? defaultEndpoint(parts);
  if (address === undefined) {
    return /^https?:\/\//i.test(text)
      ? { problem: `is a URL: ${HOW_TO_SPLIT}` }
      : problem('lacks AccountName= (or BlobEndpoint=, the address of the blob service)');
  }
  if (!/^https?:\/\/[^/]/i.test(address) || !URL.canParse(address)) {
    return problem('has a BlobEndpoint= (or AccountName=, EndpointSuffix=) that makes no address');
  }
  const url = new URL(address);
  if (url.username !== '' || url.password !== '') {
    return problem('has a BlobEndpoint= with a user or password');
  }
  if (url.search !== '' || url.hash !== '' || /[?#]/.test(address)) {
    return { problem: `has a BlobEndpoint= with "?" or "#": ${HOW_TO_SPLIT}` };
  }
  const corrected = withoutContainer(url, { container, account });
  if (corrected !== undefined) {
    return {
      problem: `has a BlobEndpoint= that holds the container, which ContainerName names; write BlobEndpoint=${corrected}`,
    };
  }
  const endpoint = address.endsWith('/') ? `${withoutSlashes(address)}/` : address;
  if (key !== undefined) {
    if (account === undefined) return problem('lacks AccountName=');
    // Node decodes what it can and is silent about the rest: the signature would just be wrong.
    if (!/^(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(key)) {
      return problem('has an AccountKey= that is not base64 or is cut off');
    }
    return {
      connectionString: `DefaultEndpointsProtocol=https;AccountName=${account};AccountKey=${key};BlobEndpoint=${endpoint}`,
      endpoint,
    };
  }
  const query = signature === undefined ? undefined : normalizeSignature(signature);
  if (query === undefined || !/(^|&)sig=[^&]/.test(query)) {
    return problem('has neither AccountKey= nor SharedAccessSignature=sv=…&sig=…');
  }
  return {
    connectionString: `BlobEndpoint=${endpoint};SharedAccessSignature=${query}`,
    endpoint,
  };
}

/** The SDK has two ways of putting a signature into a URL, and one cuts it at a second "=". Escaped, "+", "/" and "=" survive both; unescaped,
 *  a "+" would be a blank to the server.
 *  @param text a query, with or without "?" */
function normalizeSignature(text: string): string {
  return text
    .replace(/^\?/, '')
    .split('&')
    .flatMap((pair) => {
      const { name, value } = splitPair(pair);
      return name === '' ? [] : `${name}=${encodeURIComponent(decode(value))}`;
    })
    .join('&');
}

/** At the first "=": values may hold others. Both are empty where there is none. */
function splitPair(pair: string): { readonly name: string; readonly value: string } {
  const at = pair.indexOf('=');
  return {
    name: pair.slice(0, Math.max(0, at)).trim(),
    value: at < 0 ? '' : pair.slice(at + 1).trim(),
  };
}

/** A "%" that escapes nothing is one. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function readParts(text: string): ReadonlyMap<Part, string> {
  const parts = new Map<Part, string>();
  // "&amp;" is what a page or an XML file makes of "&".
  for (const item of text.replaceAll('&amp;', '&').split(';')) {
    // A key and a signature hold "=" themselves.
    const { name, value } = splitPair(item);
    const known = PARTS.find((part) => part.toLowerCase() === name.toLowerCase());
    if (known !== undefined && value !== '') parts.set(known, value);
  }
  return parts;
}

function defaultEndpoint(parts: ReadonlyMap<Part, string>): string | undefined {
  const account = parts.get('AccountName');
  if (account === undefined) return undefined;
  const protocol = parts.get('DefaultEndpointsProtocol') ?? 'https';
  const suffix = parts.get('EndpointSuffix') ?? 'core.windows.net';
  return `${protocol}://${account}.blob.${suffix}`;
}

function problem(text: string): { readonly problem: string } {
  return {
    problem: `${text}; copy it whole from the Azure portal ("Access keys" or "Shared access signature")`,
  };
}

/** What Azure's `AccountUrl` means: the address of the blob service, which others than Azure may have below a path. Tokens go by https
 *  only: the SDK sends none without TLS.
 *  @returns the URL without a slash at its end */
export function parseAccountUrl(text: string): UrlResult {
  const example = 'write a URL like "https://account.blob.core.windows.net"';
  if (/^http:\/\//i.test(text)) {
    return {
      problem: `must not start with "http://", since tokens are not sent without TLS: ${example}`,
    };
  }
  const url = /^https:\/\//i.test(text) ? toUrl(text) : undefined;
  if (url === undefined || url.username !== '' || url.password !== '') {
    return { problem: `is not the URL of a storage account: ${example}` };
  }
  if (url.search !== '' || url.hash !== '') {
    return {
      problem: `must not hold "?" or "#": ${example}; a shared access signature belongs in ConnectionString`,
    };
  }
  if (withoutContainer(url) !== undefined) {
    return { problem: `must not hold a path: ${example}; the container belongs in ContainerName` };
  }
  return { url: withoutSlash(url) };
}

/** Azure's own hosts begin with the account, and nothing is below them but containers. Elsewhere a path may lead to the account.
 *  @param rest what the user has chosen: the container, and the account where it is known
 *  @returns the address without the container; undefined: it holds none */
export function withoutContainer(
  url: URL,
  {
    container,
    account,
  }: { readonly container?: string; readonly account?: string | undefined } = {},
): string | undefined {
  const segments = url.pathname.split('/').filter((segment) => segment !== '');
  const isHostOfAccount = /(^|\.)blob\./.test(url.hostname);
  const isFirstOfAccount = segments[0] === account || isPathOfAccount(url);
  const at = isHostOfAccount
    ? 0
    : segments.findIndex((part, index) => part === container && !(index === 0 && isFirstOfAccount));
  if (at < 0 || segments.length === 0) return undefined;
  return `${url.protocol}//${[url.host, ...segments.slice(0, at)].join('/')}`;
}

/** True where Azure's SDK takes the first part of a path for the account (isIpEndpointStyle and PathStylePorts in its utils). */
function isPathOfAccount({ href, hostname, port }: URL): boolean {
  return (
    isAddressOrLocalhost(href) || hostname === 'host.docker.internal' || /^1[01]\d{3}$/.test(port)
  );
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Users name an account by its URL or by a connection string. The SDK wants all parts of a connection string in its own spelling; the C++
// SDK, and so the strings in use, needs fewer.

import {
  isAddressOrLocalhost,
  toUrl,
  type UrlResult,
  withoutSlash,
  withoutSlashes,
} from '../../config/urls.ts';

/** A problem names the part which is missing or wrong, never its value. */
type ConnectionStringResult =
  | {
      /** As the SDK understands it: with the address of the blob service. */
      readonly connectionString: string;
      readonly endpoint: string;
    }
  | { readonly problem: string };

const HOW_TO_SPLIT =
  'write "BlobEndpoint=https://account.blob.core.windows.net;SharedAccessSignature=" and behind it what follows the "?"; the container belongs in ContainerName';

/** Azurite's. */
const DEVELOPMENT = {
  connectionString: 'UseDevelopmentStorage=true',
  endpoint: 'http://127.0.0.1:10000/devstoreaccount1',
};

/** @param container must not be in the address; "" where it is not known yet */
export function parseConnectionString(text: string, container = ''): ConnectionStringResult {
  const parts = readParts(text);
  if (parts.get('usedevelopmentstorage')?.toLowerCase() === 'true') return DEVELOPMENT;
  const account = parts.get('accountname');
  const key = parts.get('accountkey');
  const signature = parts.get('sharedaccesssignature');
  const address = parts.get('blobendpoint') ?? defaultEndpoint(parts);
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
    // Node would decode what it can without an error, and the signature would be wrong.
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

/** Escapes the values: the SDK may cut one at a second "=", and a server reads "+" as a blank.
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

/** At the first "=": keys and signatures hold others. Both are empty where there is none. */
function splitPair(pair: string): { readonly name: string; readonly value: string } {
  const at = pair.indexOf('=');
  return {
    name: pair.slice(0, Math.max(0, at)).trim(),
    value: at < 0 ? '' : pair.slice(at + 1).trim(),
  };
}

/** Text with a "%" that escapes nothing stays as it is. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** By their names in lower case.
 *  @see https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string */
function readParts(text: string): ReadonlyMap<string, string> {
  // "&amp;" is what a page or an XML file makes of "&".
  const pairs = text.replaceAll('&amp;', '&').split(';').map(splitPair);
  const given = pairs.filter(({ value }) => value !== '');
  return new Map(given.map(({ name, value }) => [name.toLowerCase(), value]));
}

function defaultEndpoint(parts: ReadonlyMap<string, string>): string | undefined {
  const account = parts.get('accountname');
  if (account === undefined) return undefined;
  const protocol = parts.get('defaultendpointsprotocol') ?? 'https';
  const suffix = parts.get('endpointsuffix') ?? 'core.windows.net';
  return `${protocol}://${account}.blob.${suffix}`;
}

function problem(text: string): { readonly problem: string } {
  return {
    problem: `${text}; copy it whole from the Azure portal ("Access keys" or "Shared access signature")`,
  };
}

/** `AccountUrl` is the address of the blob service. Servers other than Azure may have it below a path. It must be https, since the SDK sends
 *  no token without TLS.
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

/** Azure's own hosts begin with the account, and only containers are below them. Elsewhere a path may lead to the account.
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

/** True if Azure's SDK takes the first part of a path for the account (isIpEndpointStyle and PathStylePorts in its utils). */
function isPathOfAccount({ href, hostname, port }: URL): boolean {
  return (
    isAddressOrLocalhost(href) || hostname === 'host.docker.internal' || /^1[01]\d{3}$/.test(port)
  );
}

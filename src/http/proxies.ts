// SPDX-License-Identifier: GPL-3.0-or-later
// Which proxy a request goes through.

import { BlockList, isIP } from 'node:net';
import type { ProxyServer, ProxySettings } from '../config/settings.ts';
import { needsNoProxy } from '../config/urls.ts';

/** @returns the proxy for a URL or an origin; undefined: none */
export function createProxyChoice({
  http,
  https,
  exceptions,
}: ProxySettings): (url: string) => ProxyServer | undefined {
  if (http === undefined && https === undefined) return () => undefined;
  const isException = createExceptions(exceptions);
  return (url) => {
    const { protocol, hostname, port } = new URL(url);
    const isTls = protocol === 'https:';
    const isStraight =
      needsNoProxy(url) ||
      isException(hostname.replace(/^\[|\]$/g, ''), port === '' ? (isTls ? '443' : '80') : port);
    if (isStraight) return undefined;
    return isTls ? https : http;
  };
}

/** Reads entries as curl and most others do: a host with its subdomains, an address or a range of addresses, each with an optional
 *  ":port". "*" is all. */
function createExceptions(list: string): (host: string, port: string) => boolean {
  const entries = list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((entry) => entry !== '');
  if (entries.includes('*')) return () => true;
  const ranges = new BlockList();
  const names: { readonly host: string; readonly port: string | undefined }[] = [];
  for (const entry of entries) {
    const [, address = '', bits] = /^\[?([0-9a-f.:]+?)\]?(?:\/(\d+))?$/.exec(entry) ?? [];
    const version = isIP(address);
    if (version !== 0) addRange(ranges, address, version, bits);
    else names.push(toName(entry));
  }
  return (host, port) => {
    const version = isIP(host);
    if (version !== 0 && ranges.check(host, version === 6 ? 'ipv6' : 'ipv4')) return true;
    return names.some(
      (name) =>
        (name.port === undefined || name.port === port) &&
        (host === name.host || host.endsWith(`.${name.host}`)),
    );
  };
}

function addRange(ranges: BlockList, address: string, version: number, bits: string | undefined) {
  const length = version === 6 ? 128 : 32;
  const prefix = Math.min(length, bits === undefined ? length : Number(bits));
  ranges.addSubnet(address, prefix, version === 6 ? 'ipv6' : 'ipv4');
}

function toName(entry: string) {
  const colon = entry.lastIndexOf(':');
  const isPort = colon > 0 && /^\d+$/.test(entry.slice(colon + 1));
  const host = isPort ? entry.slice(0, colon) : entry;
  const port = isPort ? entry.slice(colon + 1) : undefined;
  return { host: host.replace(/^\*?\./, '').replace(/^\[|\]$/g, ''), port };
}

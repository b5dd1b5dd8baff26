// SPDX-License-Identifier: GPL-3.0-or-later
// Which proxies there are: Orthanc's HttpProxy, else what the environment names, by the variables that libcurl and so the C++ plugins
// obey.

import { Secret } from '../text/secret.ts';
import { firstOf, type Variables } from './environment.ts';
import type { Report } from './problems.ts';
import type { ProxyServer, ProxySettings } from './settings.ts';
import { parseProxy } from './urls.ts';

/** @param httpProxy Orthanc's HttpProxy */
export function readProxies(
  httpProxy: string | undefined,
  variables: Variables,
  report: Report,
): ProxySettings {
  const exceptions = firstOf(['no_proxy', 'NO_PROXY'], variables)?.value ?? '';
  if (httpProxy !== undefined) {
    const proxy = toProxy('HttpProxy', httpProxy, report);
    return { http: proxy, https: proxy, exceptions };
  }
  const fromEnvironment = (...names: readonly string[]) => {
    const found = firstOf([...names, 'all_proxy', 'ALL_PROXY'], variables);
    return found === undefined ? undefined : toProxy(found.name, found.value, report);
  };
  return {
    http: fromEnvironment('http_proxy', 'HTTP_PROXY'),
    https: fromEnvironment('https_proxy', 'HTTPS_PROXY'),
    exceptions,
  };
}

function toProxy(setting: string, text: string, report: Report): ProxyServer | undefined {
  const result = parseProxy(text);
  if ('url' in result) return { url: new Secret(result.url), setting };
  report.problems.push(`${setting}: ${result.problem}`);
  return undefined;
}

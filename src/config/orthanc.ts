// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc's own settings that concern the plugin.

import { isAbsolute } from 'node:path';
import { compareVersions } from '../orthanc/api.ts';
import { describeSecret, Secret } from '../text/secret.ts';
import { firstOf, type Variables } from './environment.ts';
import type { RawSection } from './fields.ts';
import type { Report } from './problems.ts';
import type { FileSystemSettings, OrthancNetwork, ProxyServer, ProxySettings } from './settings.ts';
import { parseProxy } from './urls.ts';

export function readOrthancNetwork(
  orthanc: RawSection,
  variables: Variables,
  report: Report,
): OrthancNetwork {
  const caCertificatesFile = textOf(orthanc, 'HttpsCACertificates', report);
  const kind = describeSecret(caCertificatesFile ?? '');
  if (kind !== undefined) {
    report.problems.push(
      `HttpsCACertificates: holds ${kind} itself; the path of a file belongs there`,
    );
  }
  return {
    caCertificatesFile,
    proxies: readProxies(textOf(orthanc, 'HttpProxy', report), variables, report),
  };
}

function textOf(orthanc: RawSection, key: string, report: Report): string | undefined {
  const value = orthanc[key];
  if (value === undefined || value === '') return undefined;
  if (typeof value === 'string') return value;
  report.problems.push(`${key}: must be text in quotes`);
  return undefined;
}

/** Without HttpProxy, the environment variables of libcurl apply, as in the C++ plugins. */
function readProxies(
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

/** @returns undefined if `report` got a problem */
export function readFileSystem(
  orthanc: RawSection,
  report: Report,
): FileSystemSettings | undefined {
  const folder = textOf(orthanc, 'StorageDirectory', report);
  if (folder === undefined || !isAbsolute(folder)) {
    // Relative paths start at the folder of Orthanc's configuration file, which plugins do not know.
    const written = describeSecret(folder ?? '') === undefined ? `"${folder}"` : 'what it holds';
    const problem = folder === undefined ? 'is missing' : `${written} is a relative path`;
    report.problems.push(
      `StorageDirectory: ${problem}; write the absolute path of the folder of Orthanc's own files, since a plugin cannot resolve a relative one`,
    );
    return undefined;
  }
  const isSynchronous = readSynchronous(orthanc, report);
  return isSynchronous === undefined ? undefined : { folder, isSynchronous };
}

/** SyncStorageArea. @returns undefined if `report` got a problem */
export function readSynchronous(orthanc: RawSection, report: Report): boolean | undefined {
  const sync = orthanc['SyncStorageArea'] ?? true;
  if (typeof sync === 'boolean') return sync;
  report.problems.push('SyncStorageArea: must be true or false');
  return undefined;
}

/** StorageDirectory, if it is an absolute path. */
export function absoluteFolderIn(orthanc: RawSection): string | undefined {
  const folder = orthanc['StorageDirectory'];
  return typeof folder === 'string' && isAbsolute(folder) ? folder : undefined;
}

// Measured: Orthanc 1.12.7 ran 24 reads of /file at once; 1.13.0 runs 4.
const LOADER_THREADS_DEFAULT = 4;
const LOADER_THREADS_ADVICE = 20;

export function warnOfOrthancSettings(
  orthanc: RawSection,
  version: string | undefined,
  isEncrypted: boolean,
  report: Report,
) {
  if (isEncrypted && orthanc['StorageCompression'] === true) {
    report.warnings.push(
      'StorageCompression: with it Orthanc reads whole files only, and the size of what is encrypted tells how well it compressed; write false',
    );
  }
  if (orthanc['HttpsVerifyPeers'] === false) {
    report.warnings.push(
      'HttpsVerifyPeers: false has no effect, since the certificate of the store is always verified; if an authority of your own issued it, name that authority in HttpsCACertificates',
    );
  }
  const threads = orthanc['StorageLoaderThreadsCount'] ?? LOADER_THREADS_DEFAULT;
  const isFew = typeof threads === 'number' && threads <= LOADER_THREADS_DEFAULT;
  if (isFew && version !== undefined && compareVersions(version, '1.13.0') >= 0) {
    report.warnings.push(
      `StorageLoaderThreadsCount: ${threads} reads at once are few for object storage, where each waits for the network; write about ${LOADER_THREADS_ADVICE}`,
    );
  }
  const mayBe1130 = version === undefined || compareVersions(version, '1.13.0') === 0;
  if (mayBe1130 && orthanc['StoreMD5ForAttachments'] === false) {
    report.warnings.push(
      'StoreMD5ForAttachments: with false, Orthanc 1.13.0 answers 500 to reads of whole files that are not in its cache; write true, or use another version',
    );
  }
}

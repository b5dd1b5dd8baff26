// SPDX-License-Identifier: GPL-3.0-or-later
// Environment variables that change what the plugin does. The log names them, because no configuration shows them.

import { describeSecret } from '../text/secret.ts';
import type { Report } from './problems.ts';
import type { ProviderSettings } from './settings.ts';

export type Variables = Readonly<Record<string, string | undefined>>;

export function firstOf(names: readonly string[], variables: Variables) {
  for (const name of names) {
    const value = variables[name]?.trim();
    if (value !== undefined && value !== '') return { name, value };
  }
  return undefined;
}

/** Read by Node and its OpenSSL. */
const RUNTIME = /^(NODE_EXTRA_CA_CERTS|NODE_TLS_REJECT_UNAUTHORIZED|SSL_CERT_(FILE|DIR))$/;

/** Variables that a vendor's library reads. */
export interface ProviderVariables {
  readonly always: RegExp;
  /** Read only if the configuration holds no credentials. */
  readonly credentials: RegExp;
  /** Not trimmed by the library. Files of secrets often end with a line break, which makes all signatures wrong. */
  readonly literal: RegExp;
  /** Not secret: the library's messages repeat a wrong value. */
  readonly repeated?: RegExp;
}

export interface ObeyedVariables {
  readonly obeyed: ProviderVariables;
  /** True: the configuration holds no credentials, so the library looks for them. */
  readonly findsCredentials: boolean;
}

/** Reports names only, since values may be secret. */
export function noteEnvironment(
  { provider, obeyed, findsCredentials }: ObeyedVariables & { readonly provider: ProviderSettings },
  variables: Variables,
  report: Report,
) {
  const { http, https } = provider.settings.proxies;
  const isObeyed = (name: string) =>
    /^no_proxy$/i.test(name)
      ? http !== undefined || https !== undefined
      : name === http?.setting ||
        name === https?.setting ||
        RUNTIME.test(name) ||
        obeyed.always.test(name) ||
        (findsCredentials && obeyed.credentials.test(name));
  const names = Object.keys(variables)
    .filter((name) => variables[name] !== undefined && variables[name] !== '')
    .filter(isObeyed)
    .toSorted();
  for (const name of names) {
    const problem = describeValue(name, variables[name] ?? '', obeyed);
    if (problem !== undefined) report.problems.push(`${name}: ${problem}`);
  }
  if (names.length > 0) {
    report.notes.push(`environment variables that also have a say: ${names.join(', ')}`);
  }
  if (variables['NODE_TLS_REJECT_UNAUTHORIZED'] === '0') {
    report.warnings.push(
      'NODE_TLS_REJECT_UNAUTHORIZED: with 0, anybody between Orthanc and the provider can read and alter patient data; unset it, and name your authority in HttpsCACertificates',
    );
  }
}

function describeValue(
  name: string,
  value: string,
  { literal, repeated }: ProviderVariables,
): string | undefined {
  if (/_(FILE|PATH|DIRECTORY)$/i.test(name) || repeated?.test(name) === true) {
    const kind = describeSecret(value);
    if (kind !== undefined) return `holds ${kind} itself; a path or a name belongs there`;
  }
  if (!literal.test(name)) return undefined;
  if (/[\r\n]/.test(value)) return 'holds a line break; remove it';
  // HTTP drops blanks around a token.
  return value === value.trim() || name.endsWith('TOKEN')
    ? undefined
    : 'begins or ends with a blank; remove it';
}

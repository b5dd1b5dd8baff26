// SPDX-License-Identifier: GPL-3.0-or-later
// Environment variables change what the plugin does although no configuration shows them. So the log names them.

import { describeSecret } from '../text/secret.ts';
import type { Report } from './problems.ts';
import type { ProviderSettings } from './settings.ts';

export type Variables = Readonly<Record<string, string | undefined>>;

/** The first that is set. */
export function firstOf(names: readonly string[], variables: Variables) {
  for (const name of names) {
    const value = variables[name]?.trim();
    if (value !== undefined && value !== '') return { name, value };
  }
  return undefined;
}

/** Of Node and its OpenSSL. */
const RUNTIME = /^(NODE_EXTRA_CA_CERTS|NODE_TLS_REJECT_UNAUTHORIZED|SSL_CERT_(FILE|DIR))$/;

/** The variables that a vendor's library reads. */
export interface ProviderVariables {
  readonly always: RegExp;
  /** Where the configuration holds no credentials. */
  readonly credentials: RegExp;
  /** The library does not trim these. Files of secrets often end with a line break, and with one in a key no signature is right. */
  readonly literal: RegExp;
  /** These are no secrets, so a message about a wrong value repeats it. */
  readonly repeated?: RegExp;
}

export interface ObeyedVariables {
  readonly obeyed: ProviderVariables;
  /** The configuration holds no credentials, so that the vendor's library looks for them. */
  readonly findsCredentials: boolean;
}

/** Values may be secret, so only names are told. */
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

/** @returns what is wrong with the value, without repeating it */
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
  // HTTP itself drops the blanks around a token.
  return value === value.trim() || name.endsWith('TOKEN')
    ? undefined
    : 'begins or ends with a blank; remove it';
}

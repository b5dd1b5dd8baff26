// SPDX-License-Identifier: GPL-3.0-or-later
// Environment variables decide something without being in the configuration: the log names those that do.

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
  /** What it takes to the letter: with a line break, as a file of a secret ends with one, no request is signed as it should be. */
  readonly literal: RegExp;
  /** What is no secret itself, and what the library or we repeat when it is wrong. */
  readonly repeated?: RegExp;
}

export interface ObeyedVariables {
  readonly obeyed: ProviderVariables;
  /** The configuration holds no credentials, so that the vendor's library looks for them. */
  readonly findsCredentials: boolean;
}

/** Names only: values may be secret. */
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

/** @returns what is wrong with it, without it */
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

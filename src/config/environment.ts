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

interface Obeyed {
  readonly always: RegExp;
  /** Where the configuration holds no credentials, so that the vendor's library looks for them. */
  readonly credentials: RegExp;
}

const PROVIDER: Readonly<Record<ProviderSettings['kind'], Obeyed>> = {
  s3: {
    always:
      /^AWS_(PROFILE|CONFIG_FILE|ENDPOINT_URL(_\w+)?|IGNORE_CONFIGURED_ENDPOINT_URLS|USE_(FIPS|DUALSTACK)_ENDPOINT|S3_(USE_ARN_REGION|DISABLE_EXPRESS_SESSION_AUTH)|DISABLE_CLOCK_SKEW_CORRECTION)$/,
    credentials:
      /^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|CREDENTIAL_(EXPIRATION|SCOPE)|ACCOUNT_ID|SHARED_CREDENTIALS_FILE|LOGIN_CACHE_DIRECTORY|WEB_IDENTITY_TOKEN_FILE|ROLE_(ARN|SESSION_NAME)|CONTAINER_\w+|EC2_METADATA_\w+)$/,
  },
  azure: { always: /^AZURE_LOG_LEVEL$/, credentials: /^(AZURE|IDENTITY|MSI)_(?!LOG_LEVEL)/ },
  google: {
    always: /^GOOGLE_CLOUD_QUOTA_PROJECT$/,
    credentials:
      /^(GOOGLE_APPLICATION_CREDENTIALS|GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES|GCE_METADATA_(HOST|IP)|METADATA_SERVER_DETECTION|CLOUDSDK_CONFIG)$/i,
  },
};

/** What the vendors' libraries take to the letter: with a line break, as a file of a secret ends with one, no request is signed as it
 *  should be. */
const LITERAL =
  /^(AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|ROLE_ARN|CONTAINER_AUTHORIZATION_TOKEN)|AZURE_(TENANT_ID|CLIENT_ID|CLIENT_SECRET|CLIENT_CERTIFICATE_PATH)|(AWS_WEB_IDENTITY|AZURE_FEDERATED)_TOKEN_FILE|GOOGLE_APPLICATION_CREDENTIALS)$/i;
/** Of these, HTTP itself drops blanks at the ends. */
const TOKEN = /TOKEN$/;
/** What is no secret itself, and what a library or we repeat when it is wrong. */
const REPEATED =
  /^(AWS_(PROFILE|ROLE_(ARN|SESSION_NAME))|\w+_(FILE|PATH|DIRECTORY)|GOOGLE_APPLICATION_CREDENTIALS)$/i;

/** Names only: values may be secret. */
export function noteEnvironment(provider: ProviderSettings, variables: Variables, report: Report) {
  const names = Object.keys(variables)
    .filter((name) => variables[name] !== undefined && variables[name] !== '')
    .filter((name) => isObeyed(name, provider))
    .toSorted();
  for (const name of names) {
    const problem = describeValue(name, variables[name] ?? '');
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
function describeValue(name: string, value: string): string | undefined {
  if (REPEATED.test(name)) {
    const kind = describeSecret(value);
    if (kind !== undefined) return `holds ${kind} itself; a path or a name belongs there`;
  }
  if (!LITERAL.test(name)) return undefined;
  if (/[\r\n]/.test(value)) return 'holds a line break; remove it';
  return value === value.trim() || TOKEN.test(name)
    ? undefined
    : 'begins or ends with a blank; remove it';
}

function isObeyed(name: string, provider: ProviderSettings): boolean {
  const { always, credentials } = PROVIDER[provider.kind];
  const { http, https } = provider.settings.proxies;
  if (/^no_proxy$/i.test(name)) return http !== undefined || https !== undefined;
  return (
    name === http?.setting ||
    name === https?.setting ||
    RUNTIME.test(name) ||
    always.test(name) ||
    (findsCredentials(provider) && credentials.test(name))
  );
}

function findsCredentials({ kind, settings }: ProviderSettings): boolean {
  switch (kind) {
    case 's3':
      return settings.credentials === undefined;
    case 'azure':
      return settings.account.kind === 'default-chain';
    case 'google':
      return settings.serviceAccountFile === undefined;
    default:
      return kind satisfies never;
  }
}

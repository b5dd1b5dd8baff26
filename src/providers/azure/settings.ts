// SPDX-License-Identifier: GPL-3.0-or-later
// The section AzureBlobStorage, and BlobStorage, its old form, which the C++ plugin still reads.

import { warnOfPlainHttp } from '../../config/endpoints.ts';
import {
  flag,
  isGiven,
  optionalChoice,
  optionalSecret,
  optionalText,
  optionalUrl,
  type RawSection,
  requiredText,
} from '../../config/fields.ts';
import {
  checkTogether,
  type ProviderSection,
  type SectionContext,
  type ValuesOf,
} from '../../config/sections.ts';
import type { NetworkSettings } from '../../config/settings.ts';
import { Secret } from '../../text/secret.ts';
import { parseAccountUrl, parseConnectionString, withoutContainer } from './addresses.ts';

export interface AzureSettings extends NetworkSettings {
  /** A connection string holds an account key or a SAS, and the address of the blob service. */
  readonly account:
    | { readonly kind: 'connection-string'; readonly connectionString: Secret }
    | { readonly kind: 'default-chain'; readonly accountUrl: string };
  readonly containerName: string;
  readonly createContainerIfNotExists: boolean;
  readonly accessTier: string | undefined;
}

export const azureSection: ProviderSection<AzureSettings, typeof fields> = {
  kind: 'azure',
  section: 'AzureBlobStorage',
  fields,
  checkWritten,
  read,
  obeyed: {
    always: /^AZURE_LOG_LEVEL$/,
    credentials: /^(AZURE|IDENTITY|MSI)_(?!LOG_LEVEL)/,
    literal:
      /^AZURE_(TENANT_ID|CLIENT_ID|CLIENT_SECRET|CLIENT_CERTIFICATE_PATH|FEDERATED_TOKEN_FILE)$/,
  },
  elsewhere: {
    ContainerName: 'bucket blobcontainer',
    ConnectionString:
      'storageconnectionstring sasurl sastoken sharedaccesssignature sharedkey accountkey storageaccountkey storagekey',
    AccountUrl: 'serviceuri blobserviceuri blobendpoint accountendpoint accounturi',
  },
};

export const oldAzureSection: ProviderSection<AzureSettings, typeof oldFields> = {
  ...azureSection,
  section: 'BlobStorage',
  replacedBy: 'AzureBlobStorage',
  fields: oldFields,
  checkWritten: checkOldWritten,
  read: readOld,
};

function fields() {
  return {
    ConnectionString: optionalSecret(
      'The connection string as the Azure portal shows it, with an account key or a shared access signature.',
      connectionStringRule,
    ),
    AccountUrl: optionalUrl(
      'The account\'s address, such as "https://account.blob.core.windows.net", instead of `ConnectionString`. Credentials then come from Azure\'s default chain: environment variables, workload identity, managed identity.',
      parseAccountUrl,
    ),
    ...containerFields(),
  };
}

function oldFields() {
  return {
    AccountName: optionalText(
      'The storage account. Old form of `ConnectionString`, together with `AccountKey`.',
    ),
    AccountKey: optionalSecret('The key of `AccountName`. Old form of `ConnectionString`.'),
    ConnectionString: optionalSecret('As in `AzureBlobStorage`.', connectionStringRule),
    AccountUrl: optionalUrl('As in `AzureBlobStorage`.', parseAccountUrl),
    ...containerFields(),
  };
}

function containerFields() {
  return {
    ContainerName: requiredText('The container.', "the container's name", containerRule),
    CreateContainerIfNotExists: flag('Creates the container at start if it is missing.', true),
    AccessTier: optionalChoice(
      "Access tier of new objects. If it is absent, the account's default applies.",
      ['Hot', 'Cool', 'Cold', 'Archive', 'Premium'],
    ),
  };
}

function checkWritten(raw: RawSection, { section, report }: SectionContext) {
  const isTwice = isGiven(raw['ConnectionString']) && isGiven(raw['AccountUrl']);
  const isNeither = !isGiven(raw['ConnectionString']) && !isGiven(raw['AccountUrl']);
  if (isTwice) report.problems.push(`${section}.AccountUrl: replaces "ConnectionString": keep one`);
  if (isNeither) {
    report.problems.push(
      `${section}.ConnectionString: is missing; write it, or "AccountUrl" for the default credential chain`,
    );
  }
}

function checkOldWritten(raw: RawSection, context: SectionContext) {
  const { section, report } = context;
  checkTogether(raw, 'AccountName', 'AccountKey', context);
  const ways = ['AccountName', 'ConnectionString', 'AccountUrl'].filter((key) => isGiven(raw[key]));
  if (ways.length > 1) report.problems.push(`${section}: keep one of ${ways.join(', ')}`);
  if (ways.length === 0) {
    report.problems.push(
      `${section}.ConnectionString: is missing; write it, or "AccountName" and "AccountKey"`,
    );
  }
}

type Values = ValuesOf<typeof fields>;

function readOld(value: ValuesOf<typeof oldFields>, context: SectionContext) {
  const { AccountName: name, AccountKey: key } = value;
  if (name === undefined || key === undefined) return read(value, context);
  // As the C++ plugin does.
  const text = `DefaultEndpointsProtocol=https;AccountName=${name};AccountKey=${key.reveal()}`;
  const ConnectionString = value.ConnectionString ?? new Secret(text);
  return read({ ...value, ConnectionString }, context, 'AccountKey');
}

/** @param key for messages about the connection string */
function read(value: Values, context: SectionContext, key = 'ConnectionString') {
  const account = readAccount(value, context, key);
  if (account === undefined) return undefined;
  return {
    settings: {
      account,
      containerName: value.ContainerName,
      createContainerIfNotExists: value.CreateContainerIfNotExists,
      accessTier: value.AccessTier,
    },
    bucket: value.ContainerName,
    place: placeOf(account),
    findsCredentials: account.kind === 'default-chain',
  };
}

function readAccount(
  { ConnectionString: text, AccountUrl: accountUrl, ContainerName: container }: Values,
  { section, report }: SectionContext,
  key: string,
): AzureSettings['account'] | undefined {
  if (text === undefined) {
    if (accountUrl === undefined) return undefined;
    const corrected = withoutContainer(new URL(accountUrl), { container });
    if (corrected !== undefined) {
      report.problems.push(
        `${section}.AccountUrl: must not hold the container, which ContainerName names; write "${corrected}"`,
      );
    }
    return { kind: 'default-chain', accountUrl };
  }
  const setting = `${section}.${key}`;
  const result = parseConnectionString(text.reveal(), container);
  if ('problem' in result) {
    report.problems.push(`${setting}: ${result.problem}`);
    return undefined;
  }
  warnOfPlainHttp(setting, result.endpoint, report);
  return { kind: 'connection-string', connectionString: new Secret(result.connectionString) };
}

/** The rest of a connection string is secret. */
function placeOf(account: AzureSettings['account']): string {
  if (account.kind === 'default-chain') return account.accountUrl;
  const result = parseConnectionString(account.connectionString.reveal());
  return 'problem' in result ? '' : result.endpoint;
}

// https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
function containerRule(value: string): string | undefined {
  return /^(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*$/.test(value)
    ? undefined
    : 'must be 3 to 63 lower-case letters, digits and single hyphens';
}

function connectionStringRule(value: string): string | undefined {
  const result = parseConnectionString(value);
  return 'problem' in result ? result.problem : undefined;
}

// SPDX-License-Identifier: GPL-3.0-or-later
// What the settings tell of the access to the account, for messages and for the check at start.

import type { AzureSettings } from './settings.ts';

/** The setting that holds the credentials. */
export function accountSetting({ account }: AzureSettings): string {
  return account.kind === 'connection-string'
    ? 'AzureBlobStorage.ConnectionString'
    : 'AzureBlobStorage.AccountUrl';
}

export type Access = { readonly kind: 'key' | 'token' } | SharedAccess;

/** What a shared access signature tells of itself. */
export interface SharedAccess {
  readonly kind: 'sas';
  readonly expires: Date | undefined;
  readonly starts: Date | undefined;
  /** Letters such as "rwdl"; undefined if a stored access policy rules. */
  readonly permissions: string | undefined;
}

/** @param containerUrl with the signature, if there is one */
export function describeAccess({ account }: AzureSettings, containerUrl: string): Access {
  if (account.kind === 'default-chain') return { kind: 'token' };
  const query = new URL(containerUrl).searchParams;
  if (!query.has('sig')) return { kind: 'key' };
  return {
    kind: 'sas',
    expires: toDate(query.get('se')),
    starts: toDate(query.get('st')),
    permissions: query.get('sp') ?? undefined,
  };
}

function toDate(text: string | null): Date | undefined {
  const date = new Date(text ?? '');
  return Number.isNaN(date.getTime()) ? undefined : date;
}

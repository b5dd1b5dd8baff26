// SPDX-License-Identifier: GPL-3.0-or-later
// Reads ServiceAccountFile. Users put many other files there, and are told which kind it is.

import { createPrivateKey } from 'node:crypto';
import { StorageError } from '../../errors.ts';
import { describeReadFailure, readRegularFile } from '../../store/regular-file.ts';
import { describeSecret, showPath } from '../../text/secret.ts';

export interface ServiceAccount {
  readonly type: 'service_account';
  readonly client_email: string;
  readonly private_key: string;
  readonly private_key_id?: string;
  readonly universe_domain?: string;
  /** The project that pays, for buckets where the requester pays. */
  readonly quota_project_id?: string;
}

const SETTING = 'GoogleCloudStorage.ServiceAccountFile';

const HOW_TO_GET_ONE =
  'create a key of type JSON for the service account (IAM & Admin, Service Accounts, Keys) and name its file';

/** @throws StorageError BAD_CONFIG, without anything of the file's content, since that is a secret */
export function readServiceAccount(file: string): ServiceAccount {
  const text = readText(file);
  const content = parseObject(text);
  if (content === undefined) {
    throw wrong(file, `is ${describeText(text)}, not JSON; ${HOW_TO_GET_ONE}`);
  }
  const { type, client_email, private_key, private_key_id, universe_domain, quota_project_id } =
    content;
  if (type !== 'service_account') {
    throw wrong(file, `is ${describeJson(content)}, not a service account key; ${fix(content)}`);
  }
  if (typeof client_email !== 'string' || typeof private_key !== 'string') {
    throw wrong(file, `lacks client_email or private_key; ${HOW_TO_GET_ONE}`);
  }
  try {
    createPrivateKey(private_key);
  } catch {
    // Without the cause, which may quote the key.
    throw wrong(
      file,
      `holds a damaged private_key (line breaks must be "\\n" in the JSON text, exactly as downloaded); ${HOW_TO_GET_ONE}`,
    );
  }
  return {
    type,
    client_email,
    private_key,
    ...(typeof private_key_id === 'string' ? { private_key_id } : {}),
    ...(typeof universe_domain === 'string' ? { universe_domain } : {}),
    ...(typeof quota_project_id === 'string' ? { quota_project_id } : {}),
  };
}

function readText(file: string): string {
  try {
    return readRegularFile(file).replace(/^\uFEFF/, '');
  } catch (cause) {
    const kind = describeSecret(file);
    if (kind !== undefined) {
      // Without the cause, which quotes it.
      throw new StorageError(
        'BAD_CONFIG',
        `${SETTING}: holds the key itself (${kind}); write the path of a file that holds it`,
      );
    }
    throw wrong(file, describeReadFailure(cause), cause);
  }
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function describeText(text: string): string {
  if (text.trim() === '') return 'empty';
  if (text.includes('-----BEGIN')) return 'a key or certificate in PEM';
  // A PKCS #12 file starts with a DER sequence.
  if (text.startsWith('0') && text.includes('\uFFFD')) return 'a P12 key';
  return 'something else';
}

function describeJson(content: Readonly<Record<string, unknown>>): string {
  const { type } = content;
  if (type === 'authorized_user') return "a user's credentials of gcloud";
  if (type === 'external_account') return 'a workload identity configuration';
  if (type === 'impersonated_service_account') return 'an impersonation configuration';
  if (content['installed'] !== undefined || content['web'] !== undefined) {
    return 'the secret of an OAuth client';
  }
  return typeof type === 'string' && /^\w{1,40}$/.test(type)
    ? `JSON of type "${type}"`
    : 'JSON of another kind';
}

function fix(content: Readonly<Record<string, unknown>>): string {
  const isForChain =
    content['type'] === 'authorized_user' ||
    content['type'] === 'external_account' ||
    content['type'] === 'impersonated_service_account';
  return isForChain
    ? 'leave ServiceAccountFile out and name the file in the environment variable GOOGLE_APPLICATION_CREDENTIALS'
    : HOW_TO_GET_ONE;
}

function wrong(file: string, problem: string, cause?: unknown): StorageError {
  return new StorageError('BAD_CONFIG', `${SETTING}: ${showPath(file)} ${problem}`, { cause });
}

// SPDX-License-Identifier: GPL-3.0-or-later

import { generateKeyPairSync } from 'node:crypto';
import type { GoogleSettings } from '../../src/providers/google/settings.ts';
import { NETWORK } from './settings.ts';

/** Settings of a local server. */
export function makeGoogleSettings(changes: Partial<GoogleSettings> = {}): GoogleSettings {
  return {
    ...NETWORK,
    bucketName: 'bucket',
    serviceAccountFile: undefined,
    endpoint: undefined,
    storageClass: undefined,
    ...changes,
  };
}

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

export const TEST_PRIVATE_KEY = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

/** The content of a service account's key file, for a token server of the test's own. */
export function makeServiceAccount(changes: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    type: 'service_account',
    project_id: 'project',
    private_key_id: 'key-id',
    private_key: TEST_PRIVATE_KEY,
    client_email: 'orthanc@project.iam.gserviceaccount.com',
    client_id: '1',
    token_uri: 'https://oauth2.googleapis.com/token',
    ...changes,
  });
}

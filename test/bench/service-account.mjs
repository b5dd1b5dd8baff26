// SPDX-License-Identifier: GPL-3.0-or-later

import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Of another universe: such an account signs its tokens itself, so that no server has to be asked.
 * @param {string} folder
 * @returns {Promise<string>} the file
 */
export async function writeServiceAccount(folder) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const account = {
    type: 'service_account',
    client_email: 'bench@example.com',
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    universe_domain: 'example.com',
  };
  const file = join(folder, 'service-account.json');
  await writeFile(file, JSON.stringify(account));
  return file;
}

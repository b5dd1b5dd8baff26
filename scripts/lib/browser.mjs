// SPDX-License-Identifier: GPL-3.0-or-later
// The browser that opens the page in tests.

import { ensureHostPackages } from './host.mjs';
import { findCommand } from './run.mjs';

/** Any Chromium does, of whatever version; the first is the smallest. */
const commands = [
  'chromium-headless-shell',
  'chromium',
  'chromium-browser',
  'google-chrome',
  'google-chrome-stable',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** @returns {Promise<string>} the path of a browser, which is installed where there is none */
export async function ensureBrowser() {
  const found = (await findBrowser()) ?? (await installBrowser());
  if (found === undefined) throw new Error('no browser, though it was installed');
  return found;
}

async function installBrowser() {
  await ensureHostPackages({
    'chromium-headless-shell': 'chromium-headless-shell',
    '/usr/share/fonts/truetype/dejavu': 'fonts-dejavu-core',
  });
  return await findBrowser();
}

/** @returns {Promise<string | undefined>} */
async function findBrowser() {
  for (const command of commands) {
    const path = await findCommand(command);
    if (path !== undefined) return path;
  }
  return undefined;
}

// SPDX-License-Identifier: GPL-3.0-or-later
// What the steps of "npm test" need before they can run: got once each, side by side where it can be.

import { ensureBox } from './box.mjs';
import { ensureBrowser } from './browser.mjs';
import { buildBundle, buildNative } from './build.mjs';
import { ensureDependencies } from './dependencies.mjs';
import { explainError, say } from './log.mjs';
import { createServerCommand, otherServers, usualServers } from './servers.mjs';

/**
 * @typedef {import('./box.mjs').BoxName} BoxName
 * @typedef {'dependencies' | 'bundle' | 'box' | 'servers' | 'otherServers' | 'browser' | import('./build.mjs').Variant} Need
 *   a variant of the native half is compiled with its tests
 */

/** The same for each box. @type {readonly Need[]} */
const hostNeeds = ['dependencies', 'bundle', 'servers', 'otherServers', 'browser'];

/**
 * Returns a function that gets what is needed. A failure is told once, when it happens; whoever
 * needs it learns of it by the rejection.
 * @returns {(need: Need, box: BoxName) => Promise<unknown>}
 */
export function createNeeds() {
  /** @type {Map<string, Promise<unknown>>} */ const started = new Map();
  let lastCompilation = Promise.resolve();

  /** @param {Need} need @param {BoxName} box */
  const get = (need, box) => {
    const isOfBox = !hostNeeds.includes(need);
    const key = isOfBox ? `${need} ${box}` : need;
    let promise = started.get(key);
    if (promise === undefined) {
      promise = start(need, box);
      started.set(key, promise);
    }
    return promise;
  };

  /** @param {Need} need @param {BoxName} box @returns {Promise<unknown>} */
  const start = async (need, box) => {
    if (need === 'dependencies') return await tell(ensureDependencies());
    if (need === 'browser') return await tell(ensureBrowser());
    if (need === 'box') return await tell(ensureBox(box));
    if (need === 'servers') return await tell(Promise.all(usualServers.map(createServerCommand)));
    // Whose test is skipped where one cannot be had, and says why.
    if (need === 'otherServers')
      return await Promise.allSettled(otherServers.map(createServerCommand));
    await get('dependencies', box);
    if (need === 'bundle') return await tell(buildBundle());
    // The native half embeds the bundle.
    await Promise.all([get('bundle', box), get('box', box)]);
    // One after another: the compiler takes all cores as it is.
    const compilation = lastCompilation.then(() =>
      tell(buildNative({ box, variant: need, withTests: true })),
    );
    lastCompilation = compilation.catch(() => {});
    return await compilation;
  };
  return get;
}

/** @param {Promise<unknown>} promise */
async function tell(promise) {
  try {
    return await promise;
  } catch (error) {
    say(explainError(error));
    throw error;
  }
}

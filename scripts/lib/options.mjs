// SPDX-License-Identifier: GPL-3.0-or-later
// Command line options, with an error that a user understands.

import { parseArgs } from 'node:util';

import { UserError } from './log.mjs';

/**
 * @template {import('node:util').ParseArgsConfig['options']} T
 * @param {T} options as parseArgs takes them
 */
export function parseOptions(options) {
  try {
    return parseArgs({ options, allowPositionals: true });
  } catch (error) {
    throw new UserError(error.message);
  }
}

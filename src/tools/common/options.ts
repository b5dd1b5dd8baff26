// SPDX-License-Identifier: GPL-3.0-or-later
// Options that several commands have.

import { InvalidArgumentError } from 'commander';

const PARALLEL_MAX = 256;

export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    const range = max === Number.MAX_SAFE_INTEGER ? `above ${min - 1}` : `from ${min} to ${max}`;
    throw new InvalidArgumentError(`It must be a whole number ${range}.`);
  };
}

/** How many objects or files at once. */
export const parallelNumber = wholeNumber(1, PARALLEL_MAX);

export function decimalNumber(min: number): (text: string) => number {
  return (text) => {
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min) return value;
    throw new InvalidArgumentError(`It must be a number from ${min} on.`);
  };
}

/** For commander's `requiredOption`. */
export const CONFIG_OPTION = [
  '--config <path>',
  "Orthanc's configuration file, or its folder of files",
] as const;

// SPDX-License-Identifier: GPL-3.0-or-later

/** @returns NaN of none */
export const medianOf = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

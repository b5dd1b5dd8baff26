// SPDX-License-Identifier: GPL-3.0-or-later

/** Orders versions such as Orthanc's "1.12.7"; what is no number ("mainline") comes after all numbers.
 *  @returns negative, zero or positive, as for Array.prototype.sort */
export function compareVersions(left: string, right: string): number {
  const leftParts = partsOf(left);
  const rightParts = partsOf(right);
  for (let i = 0; i < Math.max(leftParts.length, rightParts.length); i += 1) {
    const difference = (leftParts[i] ?? 0) - (rightParts[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function partsOf(version: string): readonly number[] {
  return version.split('.').map((part) => {
    const number = Number.parseInt(part, 10);
    return Number.isNaN(number) ? Number.MAX_SAFE_INTEGER : number;
  });
}

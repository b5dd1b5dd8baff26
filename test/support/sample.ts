// SPDX-License-Identifier: GPL-3.0-or-later
// object-storage.json of the packages, edited as its own words say.

/** Takes the slashes of these lines away, and puts their values in.
 *  @param wanted the lines as they are to be, in the sample's order
 *  @throws if the sample has no such line */
export function takeSlashesAway(sample: string, wanted: string): string {
  const lines = sample.split('\n');
  let from = 0;
  for (const line of wanted.trimEnd().split('\n')) {
    const [, key] = /^\s*"(\w+)":/.exec(line) ?? [];
    const commented = key === undefined ? /^\/\/\},/ : new RegExp(`^//\\s*"${key}":`);
    const found = lines.findIndex((each, index) => index >= from && commented.test(each));
    if (found < 0) throw new Error(`the sample has no line for ${line}`);
    lines[found] = key === undefined ? (lines[found] ?? '').slice(2) : line;
    from = found + 1;
  }
  return lines.join('\n');
}

// SPDX-License-Identifier: GPL-3.0-or-later

/** @returns the candidate that is probably meant, ignoring case; undefined if none is near, since wrong guesses mislead */
export function suggest(word: string, candidates: readonly string[]): string | undefined {
  const folded = word.toLowerCase();
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const target = candidate.toLowerCase();
    // "Bucket" means "BucketName", although the distance is large.
    const isStart = folded.length >= 4 && target.startsWith(folded);
    const distance = isStart ? 1 : editDistance(folded, target);
    if (distance * 3 <= Math.max(folded.length, target.length) && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** True for the word itself too. Allows two slips at most, so that no name of Orthanc or another plugin matches. */
export function isSlipOf(word: string, meant: string): boolean {
  return editDistance(word.toLowerCase(), meant.toLowerCase()) <= 2;
}

/** Damerau-Levenshtein distance (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  // A very long key, such as a pasted file, must not cost time.
  if (Math.abs(a.length - b.length) > 32) return Math.max(a.length, b.length);
  let beforeLast: readonly number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? (beforeLast[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min(replace, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, swap));
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/** Names of a setting in other tools: AWS's SDKs and command line, boto, rclone, MinIO, the tools of Azure and Google. In lower case,
 *  without punctuation and the vendor's name, separated by blanks. */
export type NamesElsewhere = Readonly<Record<string, string>>;

const NAMES_ELSEWHERE: NamesElsewhere = {
  Endpoint: 'endpointurl endpointuri serviceurl url host hostname server',
  BucketName: 'bucketid container',
  RootPath: 'prefix keyprefix folder path root basepath directory',
  StorageClass: 'defaultstorageclass',
  ConnectionTimeout: 'connecttimeoutms',
  RequestTimeout: 'readtimeout timeout sockettimeout',
  MaxRetries: 'maxattempts retries maxerrorretry retrycount',
  MaxConnections: 'maxpoolconnections maxsockets maxconcurrentrequests',
};

/** @returns the candidate that has this name in other tools */
export function suggestForName(
  word: string,
  candidates: readonly string[],
  elsewhere: NamesElsewhere = {},
): string | undefined {
  const known = { ...NAMES_ELSEWHERE, ...elsewhere };
  const letters = lettersOf(word);
  const bare = letters.replace(/^(aws|s3|minio|azure|az|google|gcs|gcp|fs)+/, '');
  return candidates.find((candidate) => {
    const names = [lettersOf(candidate), ...(known[candidate]?.split(' ') ?? [])];
    return names.includes(letters) || names.includes(bare);
  });
}

function lettersOf(word: string): string {
  // The key may be a pasted file.
  return word
    .slice(0, 100)
    .toLowerCase()
    .replace(/[^a-z\d]/g, '');
}

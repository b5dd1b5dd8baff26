// SPDX-License-Identifier: GPL-3.0-or-later

import { describe, expect, test } from 'vitest';
import { editDistance, suggest } from '../../../src/config/suggest.ts';

describe('editDistance', () => {
  test.each([
    ['', '', 0],
    ['', 'abc', 3],
    ['abc', '', 3],
    ['flat', 'flatt', 1],
    ['flatt', 'flat', 1],
    ['flat', 'flot', 1],
    ['flat', 'falt', 1],
    ['ca', 'ac', 1],
    ['kitten', 'sitting', 3],
    ['BuketName', 'BucketName', 1],
  ])('%j to %j is %d', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
  });
});

describe('suggest', () => {
  const keys = ['BucketName', 'Region', 'AccessKey', 'SecretKey', 'MaxRetries', 'MaxConnections'];

  test.each([
    ['BuketName', 'BucketName'],
    ['bucketname', 'BucketName'],
    ['BUCKET_NAME', 'BucketName'],
    ['Bucket', 'BucketName'],
    ['Regoin', 'Region'],
    ['MaxConnection', 'MaxConnections'],
    ['MaxRetry', 'MaxRetries'],
    ['AccesKey', 'AccessKey'],
  ])('%j: %j', (word, meant) => {
    expect(suggest(word, keys)).toBe(meant);
  });

  test.each(['', 'x', 'Key', 'Colour', 'SecretAccessKey', 'Max'])('nothing is near %j', (word) => {
    expect(suggest(word, keys)).toBeUndefined();
  });

  // Without the shortcut this takes a minute.
  test('a pasted file is answered at once', () => {
    const start = performance.now();
    expect(suggest('x'.repeat(3_000_000), [...keys, ...keys])).toBeUndefined();
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

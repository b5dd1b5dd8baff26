// SPDX-License-Identifier: GPL-3.0-or-later

import { randomBytes, randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { UuidTable } from '../../../../src/tools/common/uuid-table.ts';

test('keeps what a Map would', () => {
  const table = new UuidTable();
  const map = new Map<string, number>();
  for (let index = 0; index < 20_000; index += 1) {
    const uuid = randomUUID();
    map.set(uuid, index * 1_000_000_007);
    table.set(uuid, index * 1_000_000_007, index % 4);
  }
  expect(table.size).toBe(map.size);
  for (const [uuid, sizeBytes] of map) {
    expect(table.get(uuid)).toEqual({ sizeBytes, tag: (sizeBytes / 1_000_000_007) % 4 });
    expect(table.get(uuid.toUpperCase())?.sizeBytes).toBe(sizeBytes);
  }
  expect(table.get(randomUUID())).toBeUndefined();
  const [first = ''] = map.keys();
  table.set(first, 5, 1);
  expect(table.size).toBe(map.size);
  expect(table.get(first)).toEqual({ sizeBytes: 5, tag: 1 });
});

test('keeps MD5s with them, and none where there is none', () => {
  const table = new UuidTable();
  const md5s = new Map<string, string | undefined>();
  for (let index = 0; index < 20_000; index += 1) {
    const uuid = randomUUID();
    const md5 = index % 3 === 0 ? undefined : randomBytes(16).toString('hex');
    md5s.set(uuid, md5);
    table.set(uuid, index, 0);
    if (md5 !== undefined) table.setMd5(uuid, md5);
  }
  for (const [uuid, md5] of md5s) expect(table.md5Of(uuid)).toBe(md5);
  expect(table.md5Of(randomUUID())).toBeUndefined();
});

test('gives what was never marked', () => {
  const table = new UuidTable();
  const uuids = Array.from({ length: 1000 }, () => randomUUID());
  for (const uuid of uuids) table.set(uuid, 1, 0);
  for (const uuid of uuids.slice(0, 990)) table.mark(uuid);
  table.mark(randomUUID());
  expect(uuids.map((uuid) => table.isMarked(uuid))).toEqual(uuids.map((_, index) => index < 990));
  expect(table.isMarked(randomUUID())).toBe(false);
  expect([...table.unmarked()].map(({ uuid }) => uuid).sort()).toEqual(uuids.slice(990).sort());
});

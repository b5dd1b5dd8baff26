// SPDX-License-Identifier: GPL-3.0-or-later

import { expect, test } from 'vitest';
import { createOrthancApi } from '../../../src/orthanc/api.ts';
import { listIndex } from '../../../src/orthanc/index-list.ts';
import { expectFailure } from '../../support/bodies.ts';

const PAGE = 100;
const uuidOf = (number: number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;

/** An Orthanc of so many instances, which may lose some between two pages.
 *  @param removeAt told the number of the page, how many of the first instances go before it is answered */
function createApi(count: number, removeAt: (page: number) => number = () => 0) {
  let numbers = Array.from({ length: count }, (_, number) => number);
  let page = 0;
  const requests: string[] = [];
  const api = createOrthancApi((path) => {
    const url = new URL(path, 'http://orthanc');
    let found: readonly number[] = [];
    if (url.pathname === '/instances') {
      numbers = numbers.slice(removeAt(page));
      page += 1;
      requests.push(path);
      const since = Number(url.searchParams.get('since'));
      found = numbers.slice(since, since + Number(url.searchParams.get('limit')));
    }
    const body = found.map((number) => ({
      ID: String(number),
      Attachments: [{ Uuid: uuidOf(number), ContentType: 1, CompressedSize: number }],
    }));
    return Promise.resolve({ status: 200, body: Buffer.from(JSON.stringify(body)) });
  });
  return { api, requests };
}

async function list(api: ReturnType<typeof createApi>['api']): Promise<ReadonlySet<number>> {
  const found = new Set<number>();
  for await (const { contentBytes } of listIndex(api, PAGE)) found.add(contentBytes);
  return found;
}

test.each([0, 1, 99, 100, 101, 150, 151, 1000])('all of %i instances are listed', async (count) => {
  const { api } = createApi(count);
  expect((await list(api)).size).toBe(count);
});

test('what is deleted between two pages hides nothing that stays', async () => {
  const { api, requests } = createApi(1000, (page) => (page > 0 ? 40 : 0));
  const found = await list(api);
  const removed = 40 * (requests.length - 1);
  for (let number = removed; number < 1000; number += 1) expect(found).toContain(number);
});

test('where so much is deleted that there may be a gap, it is said', async () => {
  // The first that would be missing is the one behind the overlap.
  const { api } = createApi(1000, (page) => (page === 3 ? 51 : 0));
  await expectFailure(list(api), 'UNAVAILABLE', /may have gaps: run again/);
});

test.each([
  ['no list', { status: 404, body: '' }, /gives no list for GET \/patients/],
  ['no attachments', { status: 200, body: '[{ "ID": "a" }]' }, /needs Orthanc 1\.12\.5 or newer/],
])('an Orthanc that gives %s is refused', async (_, { status, body }, message) => {
  const api = createOrthancApi(() => Promise.resolve({ status, body: Buffer.from(body) }));
  await expectFailure(list(api), 'UNAVAILABLE', message);
});

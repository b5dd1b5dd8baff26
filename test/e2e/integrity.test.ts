// SPDX-License-Identifier: GPL-3.0-or-later
// What arrives is what was stored, or an error: never anything else.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { makeDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import type { Fault } from '../support/store-proxy.ts';
import { createWorld, describeProviders, type World } from '../support/world.ts';

const file = makeDicom({ sopInstanceUid: '1.2.3.1', pixelBytes: 400_000 });

type Alteration = Omit<Extract<Fault, { kind: 'alter' }>, 'kind'>;

function flip(body: Buffer): Buffer {
  const altered = Buffer.from(body);
  const middle = altered.length >> 1;
  altered[middle] = (altered[middle] ?? 0) ^ 1;
  return altered;
}

const alterations: readonly (readonly [string, Alteration])[] = [
  ['is cut off', { announce: 'original', change: (body) => body.subarray(0, body.length - 1000) }],
  [
    'is shorter than it was',
    { announce: 'altered', change: (body) => body.subarray(0, body.length - 1) },
  ],
  ['is empty', { announce: 'altered', change: () => Buffer.alloc(0) }],
  [
    'is longer than it was',
    { announce: 'altered', change: (body) => Buffer.concat([body, Buffer.from('x')]) },
  ],
  ['has a flipped bit', { announce: 'altered', change: flip }],
];

describeProviders('integrity', (provider) => {
  let world: World;
  let orthanc: Orthanc;
  let id: string;

  beforeAll(async () => {
    world = await createWorld({ provider });
    orthanc = await world.start('integrity', {
      configuration: {
        MaximumStorageCacheSize: 0,
        ...world.configure({ RequestTimeout: 5, MaxRetries: 2 }),
      },
    });
    id = (await orthanc.upload(file)).ID;
  });

  afterEach(() => {
    world.proxy.setFault(undefined);
  });

  afterAll(() => world.close());

  describe.each(alterations)('the body of a GET %s', (_name, alteration) => {
    test('always: an error', async () => {
      world.proxy.setFault(({ method }) =>
        method === 'GET' ? { kind: 'alter', ...alteration } : undefined,
      );
      const answer = await orthanc.request('GET', `/instances/${id}/file`);
      expect(answer.status).toBe(500);
      expect(answer.body.length).toBeLessThan(10_000); // Orthanc's description of the error
    });

    test('once: an error, or repeated and right', async () => {
      let faults = 1;
      world.proxy.setFault(({ method }) =>
        method === 'GET' && faults-- > 0 ? { kind: 'alter', ...alteration } : undefined,
      );
      const answer = await orthanc.request('GET', `/instances/${id}/file`);
      if (answer.status === 200) expect(Buffer.compare(answer.body, file)).toBe(0);
      else expect(answer.status).toBe(500);
      expect(Buffer.compare(await orthanc.get(`/instances/${id}/file`), file)).toBe(0);
    });

    // Of a part, only Azure gives a checksum.
    if (alteration.change !== flip || provider === 'azure') {
      test('of a range: an error', async () => {
        world.proxy.setFault(({ method }) =>
          method === 'GET' ? { kind: 'alter', ...alteration } : undefined,
        );
        const path = `/instances/${id}/attachments/dicom/data`;
        const headers = { range: 'bytes=1000-5999' };
        const answer = await orthanc.request('GET', path, undefined, headers);
        expect(answer.status).toBe(500);
      });
    }
  });

  test('an upload that arrives altered is not acknowledged', async () => {
    world.proxy.setFault(({ method }) =>
      method === world.createMethod ? { kind: 'corrupt' } : undefined,
    );
    const other = makeDicom({ sopInstanceUid: '1.2.3.2', pixelBytes: 50_000 });
    expect((await orthanc.request('POST', '/instances', other)).status).toBe(500);
    expect(await orthanc.json('/instances')).toEqual([id]);
  });
});

// SPDX-License-Identifier: GPL-3.0-or-later
// The store goes away, and comes back.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { makeDicom } from '../support/dicom.ts';
import { type Orthanc, sendByDicom } from '../support/orthanc.ts';
import { createWorld, describeProviders, type World } from '../support/world.ts';

const REQUEST_TIMEOUT_S = 2;
/** RequestTimeout, the grace on top of it, and a busy machine. */
const DEADLINE_MS = REQUEST_TIMEOUT_S * 1000 + 3000;

const stored = makeDicom({ sopInstanceUid: '1.2.3.1', pixelBytes: 300_000 });

async function timed<T>(work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const result = await work();
  expect(performance.now() - startedMs).toBeLessThan(DEADLINE_MS);
  return result;
}

describeProviders('outages', (provider) => {
  let world: World;
  let orthanc: Orthanc;
  /** An instance that was stored in better times. */
  let storedId: string;

  beforeAll(async () => {
    world = await createWorld({ provider });
    orthanc = await world.start('outage', {
      configuration: {
        MaximumStorageCacheSize: 0,
        ...world.configure({
          ConnectionTimeout: 1,
          RequestTimeout: REQUEST_TIMEOUT_S,
          // So many that the time is up first, though a silent server is given up after a quarter of RequestTimeout.
          MaxRetries: 4,
        }),
      },
    });
    storedId = (await orthanc.upload(stored)).ID;
  });

  afterEach(async () => {
    world.proxy.setFault(undefined);
    await world.proxy.accept().catch(() => {}); // it listens already
  });

  afterAll(() => world.close());

  describe.each<[string, () => void | Promise<void>]>([
    ['refuses connections', () => world.proxy.refuse()],
    ['never answers', () => world.proxy.setFault(() => ({ kind: 'hang' }))],
    ['answers 503', () => world.proxy.setFault(() => ({ kind: 'answer', status: 503 }))],
  ])('the store %s', (_name, breakStore) => {
    test('operations fail in time with one line each, and all works again afterwards', async () => {
      const file = makeDicom({ sopInstanceUid: '1.2.3.2', pixelBytes: 100_000 });
      const before = await orthanc.json('/statistics');
      await breakStore();

      let position = orthanc.log().length;
      const create = await timed(() => orthanc.request('POST', '/instances', file));
      expect(create.status).toBe(500);
      expect(orthanc.errorsSince(position)).toEqual([
        expect.stringMatching(
          /op=create uuid=[0-9a-f-]{36} provider=\w+ ms=\d+ code=(UNAVAILABLE|TIMEOUT|THROTTLED) key=[0-9a-f-]{36}\.dcm .*error=/,
        ),
      ]);
      expect(orthanc.errorsSince(position)[0]).toContain(`provider=${provider} `);

      position = orthanc.log().length;
      const read = await timed(() => orthanc.request('GET', `/instances/${storedId}/file`));
      expect(read.status).toBe(500);
      expect(orthanc.errorsSince(position)).toEqual([
        expect.stringMatching(/op=read(-range)? uuid=.* code=(UNAVAILABLE|TIMEOUT|THROTTLED) key=/),
      ]);

      expect(await orthanc.json('/statistics')).toEqual(before);
      expect(await orthanc.json('/instances')).toEqual([storedId]);

      world.proxy.setFault(undefined);
      await world.proxy.accept().catch(() => {});
      const { ID, Status } = await orthanc.upload(file);
      expect(Status).toBe('Success');
      expect(Buffer.compare(await orthanc.get(`/instances/${ID}/file`), file)).toBe(0);
      expect(Buffer.compare(await orthanc.get(`/instances/${storedId}/file`), stored)).toBe(0);
      await orthanc.request('DELETE', `/instances/${ID}`);
      expect(await world.objects()).toHaveLength(1);
    });
  });

  test('C-STORE fails with status 0xA700 (out of resources)', async () => {
    const path = join(world.folder, 'sent.dcm');
    await writeFile(path, makeDicom({ sopInstanceUid: '1.2.3.3', pixelBytes: 10_000 }));
    await world.proxy.refuse();
    const { output } = await sendByDicom(world.box, orthanc, 'storescu', ['--debug', path]);
    expect(output).toMatch(/DIMSE Status\s+: 0xa700/i);
    expect(await orthanc.json('/instances')).toEqual([storedId]);
    await world.proxy.accept();
    expect((await sendByDicom(world.box, orthanc, 'storescu', [path])).code).toBe(0);
    expect(await orthanc.json('/instances')).toHaveLength(2);
  });

  test('a remove that fails is logged with the key that stays behind', async () => {
    const { ID } = await orthanc.upload(makeDicom({ sopInstanceUid: '1.2.3.4', pixelBytes: 1000 }));
    const position = orthanc.log().length;
    world.proxy.setFault(({ method }) =>
      method === 'DELETE' ? { kind: 'answer', status: 403 } : undefined,
    );
    await orthanc.request('DELETE', `/instances/${ID}`);
    expect(orthanc.errorsSince(position)).toEqual([
      expect.stringMatching(/op=remove .*code=ACCESS_DENIED key=[0-9a-f-]{36}\.dcm/),
    ]);
  });

  test('a remove that nobody answers is logged with the key that may stay behind', async () => {
    const { ID } = await orthanc.upload(makeDicom({ sopInstanceUid: '1.2.3.6', pixelBytes: 1000 }));
    const position = orthanc.log().length;
    world.proxy.setFault(({ method }) => (method === 'DELETE' ? { kind: 'hang' } : undefined));
    const { status } = await timed(() => orthanc.request('DELETE', `/instances/${ID}`));
    expect(status).toBe(200);
    expect(orthanc.errorsSince(position)).toEqual([
      expect.stringMatching(/op=remove .*code=TIMEOUT key=[0-9a-f-]{36}\.dcm .*orphan/),
    ]);
  });

  test("a web filter's page with status 200 acknowledges nothing", async () => {
    const before = await orthanc.json('/instances');
    const position = orthanc.log().length;
    world.proxy.setFault(() => ({ kind: 'answer', status: 200, body: '<html>Blocked</html>' }));
    const dicom = makeDicom({ sopInstanceUid: '1.2.3.7', pixelBytes: 1000 });
    expect((await orthanc.request('POST', '/instances', dicom)).status).toBe(500);
    expect(await orthanc.json('/instances')).toEqual(before);
    expect(orthanc.errorsSince(position).join('\n')).toMatch(
      /op=create .*code=UNAVAILABLE .*no store answers at .*status 200, application\/xml/,
    );
  });

  test('a retry hides a stumble', async () => {
    const position = orthanc.log().length;
    let faults = 1;
    world.proxy.setFault(() => (faults-- > 0 ? { kind: 'answer', status: 503 } : undefined));
    const { ID } = await orthanc.upload(makeDicom({ sopInstanceUid: '1.2.3.5', pixelBytes: 1000 }));
    faults = 1;
    await orthanc.get(`/instances/${ID}/file`);
    expect(orthanc.errorsSince(position)).toEqual([]);
  });

  test('an object that somebody has deleted is 404, and said once', async () => {
    const before = await world.objects();
    const { ID } = await orthanc.upload(makeDicom({ sopInstanceUid: '1.2.3.6', pixelBytes: 1000 }));
    const added = (await world.objects()).filter((key) => !before.includes(key));
    for (const key of added) await world.store.remove(key);
    const position = orthanc.log().length;
    expect((await orthanc.request('GET', `/instances/${ID}/file`)).status).toBe(404);
    expect(orthanc.errorsSince(position)).toEqual([
      expect.stringMatching(/op=read.* code=NOT_FOUND key=/),
    ]);
  });
});

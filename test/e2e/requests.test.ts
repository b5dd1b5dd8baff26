// SPDX-License-Identifier: GPL-3.0-or-later
// What the store sees: how many requests, for which keys, with which headers.

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { makeDicom } from '../support/dicom.ts';
import type { Configuration, Orthanc, Upload } from '../support/orthanc.ts';
import { rangeOf } from '../support/store-proxy.ts';
import {
  BUCKET,
  createWorld,
  describeProviders,
  type Provider,
  type World,
} from '../support/world.ts';

const PIXELS = 500_000;
const file = makeDicom({ sopInstanceUid: '1.2.3.1', pixelBytes: PIXELS });

describeProviders('requests', (provider) => {
  let world: World;
  let orthanc: Orthanc;
  let upload: Upload;

  beforeAll(async () => {
    world = await createWorld({ provider });
    orthanc = await world.start('flat', { configuration: { MaximumStorageCacheSize: 0 } });
  });

  beforeEach(() => {
    world.proxy.forget();
  });

  afterAll(() => world.close());

  const requests = () => world.proxy.requests().map(({ method, key }) => `${method} ${key}`);

  test('a create is one request', async () => {
    upload = await orthanc.upload(file);
    const keys = await world.objects();
    expect(keys).toEqual([expect.stringMatching(/^[0-9a-f-]{36}\.dcm$/)]);
    expect(world.proxy.counts()).toEqual({ [world.createMethod]: 1 });
  });

  test('tags are read without the pixels, and a range as a range', async () => {
    await orthanc.get(`/instances/${upload.ID}/tags`);
    await orthanc.get(`/instances/${upload.ID}/attachments/dicom/data`, {
      range: 'bytes=1000-1999',
    });
    const ranges = world.proxy.requests().map(rangeOf);
    expect(ranges).toHaveLength(2);
    expect(ranges[0]).toMatch(/^bytes=0-\d{3}$/);
    expect(ranges[1]).toBe('bytes=1000-1999');
  });

  test.each([
    ['a whole read', '/file'],
    ['a preview', '/preview'],
    ['an attachment', '/attachments/dicom/data'],
  ])('%s is one request', async (_name, path) => {
    await orthanc.get(`/instances/${upload.ID}${path}`);
    const [key] = await world.objects();
    expect(requests()).toEqual([`GET ${key}`]);
  });

  test('a remove is one request, and nothing is left', async () => {
    const [key] = await world.objects();
    await orthanc.request('DELETE', `/instances/${upload.ID}`);
    expect(requests()).toEqual([`DELETE ${key}`]);
    expect(await world.objects()).toEqual([]);
  });

  test('the status tells the same, and no secret', async () => {
    const text = (await orthanc.get('/object-storage/status')).toString();
    expect(JSON.parse(text)).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      provider,
      bucket: BUCKET,
      operations: {
        create: { inFlight: 0, succeeded: 1, failed: 0, bytes: file.length },
        remove: { inFlight: 0, succeeded: 1, failed: 0 },
      },
      errors: {},
    });
    const { AccessKey, ConnectionString } = world.section;
    for (const secret of [...world.secrets, AccessKey, ConnectionString]) {
      if (typeof secret === 'string') expect(text).not.toContain(secret);
    }
    expect((await orthanc.request('POST', '/object-storage/status', '{}')).status).toBe(405);
    expect((await orthanc.request('GET', '/object-storage/nothing')).status).toBe(404);
  });

  test('the storage cache spares the store', async () => {
    const cached = await world.start('cached');
    world.proxy.forget();
    const { ID } = await cached.upload(file);
    await cached.get(`/instances/${ID}/file`);
    await cached.get(`/instances/${ID}/tags`);
    await cached.request('DELETE', `/instances/${ID}`);
    expect(world.proxy.counts()).toEqual({ [world.createMethod]: 1, DELETE: 1 });
    await cached.kill();
  });

  test('folders, and what the server is to know, are part of the one request', async () => {
    const { settings, headers } = EXTRAS[provider];
    const rich = await world.start('rich', {
      configuration: {
        MaximumStorageCacheSize: 0,
        ...world.configure({
          RootPath: 'hospital/archive',
          StorageStructure: 'legacy',
          ...settings,
        }),
      },
    });
    world.proxy.forget();
    const { ID } = await rich.upload(file);
    const [key = ''] = await world.objects();
    expect(key).toMatch(/^hospital\/archive\/([0-9a-f]{2})\/([0-9a-f]{2})\/\1\2[0-9a-f-]{32}$/);
    expect(world.proxy.requests()).toMatchObject([{ method: world.createMethod, headers }]);

    expect((await rich.get(`/instances/${ID}/file`)).equals(file)).toBe(true);
    await rich.request('DELETE', `/instances/${ID}`);
    expect(await world.objects()).toEqual([]);
    expect(world.proxy.counts()).toEqual({ [world.createMethod]: 1, GET: 1, DELETE: 1 });
  });
});

/** Settings of each provider, and where they are seen in a request. */
const EXTRAS: Readonly<
  Record<Provider, { readonly settings: Configuration; readonly headers: object }>
> = {
  s3: {
    settings: {
      StorageClass: 'STANDARD_IA',
      Tags: { project: 'radiology', 'cost centre': 'a+b=c' },
      ServerSideEncryption: 'AES256',
      ChecksumMode: 'WhenRequired',
    },
    headers: {
      'x-amz-storage-class': 'STANDARD_IA',
      'x-amz-server-side-encryption': 'AES256',
      'x-amz-tagging': 'cost%20centre=a%2Bb%3Dc&project=radiology',
      'content-md5': expect.stringMatching(/^[A-Za-z0-9+/]{22}==$/) as string,
    },
  },
  azure: { settings: { AccessTier: 'Cool' }, headers: { 'x-ms-access-tier': 'Cool' } },
  // Google is told in the body, which test/conformance/google-sdk.test.ts reads.
  google: { settings: { StorageClass: 'NEARLINE' }, headers: {} },
};

// SPDX-License-Identifier: GPL-3.0-or-later
// What the store sees: how many requests, for which keys, with which headers.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { makeDicom } from '../support/dicom.ts';
import type { Orthanc, Upload } from '../support/orthanc.ts';
import { createWorld, type World } from '../support/world.ts';

const PIXELS = 500_000;
const file = makeDicom({ sopInstanceUid: '1.2.3.1', pixelBytes: PIXELS });

let world: World;

beforeAll(async () => {
  world = await createWorld();
});

afterAll(() => world.close());

describe('flat, no storage cache', () => {
  let orthanc: Orthanc;
  let upload: Upload;

  beforeAll(async () => {
    world.proxy.forget();
    orthanc = await world.start('flat', { configuration: { MaximumStorageCacheSize: 0 } });
  });

  beforeEach(() => {
    world.proxy.forget();
  });

  const requests = () => world.proxy.requests().map(({ method, key }) => `${method} ${key}`);

  test('a create is one PUT', async () => {
    upload = await orthanc.upload(file);
    const [key] = await world.objects();
    expect(key).toMatch(/^[0-9a-f-]{36}\.dcm$/);
    expect(requests()).toEqual([`PUT ${key}`]);
  });

  test('tags are read without the pixels, and a range as a range', async () => {
    await orthanc.get(`/instances/${upload.ID}/tags`);
    await orthanc.get(`/instances/${upload.ID}/attachments/dicom/data`, {
      range: 'bytes=1000-1999',
    });
    const ranges = world.proxy.requests().map(({ headers }) => headers['range']);
    expect(ranges).toHaveLength(2);
    expect(ranges[0]).toMatch(/^bytes=0-\d{3}$/);
    expect(ranges[1]).toBe('bytes=1000-1999');
  });

  test.each([
    ['a whole read', '/file'],
    ['a preview', '/preview'],
    ['an attachment', '/attachments/dicom/data'],
  ])('%s is one GET', async (_name, path) => {
    await orthanc.get(`/instances/${upload.ID}${path}`);
    const [key] = await world.objects();
    expect(requests()).toEqual([`GET ${key}`]);
  });

  test('a remove is one DELETE, and nothing is left', async () => {
    const [key] = await world.objects();
    await orthanc.request('DELETE', `/instances/${upload.ID}`);
    expect(requests()).toEqual([`DELETE ${key}`]);
    expect(await world.objects()).toEqual([]);
  });

  test('the status tells the same, and no secret', async () => {
    const text = (await orthanc.get('/object-storage/status')).toString();
    expect(JSON.parse(text)).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      provider: 's3',
      bucket: world.section['BucketName'],
      operations: {
        create: { inFlight: 0, succeeded: 1, failed: 0, bytes: file.length },
        remove: { inFlight: 0, succeeded: 1, failed: 0 },
      },
      errors: {},
    });
    expect(text).not.toContain(String(world.section['SecretKey']));
    expect(text).not.toContain(String(world.section['AccessKey']));
    expect((await orthanc.request('POST', '/object-storage/status', '{}')).status).toBe(405);
    expect((await orthanc.request('GET', '/object-storage/nothing')).status).toBe(404);
  });
});

test('the storage cache spares the store', async () => {
  const orthanc = await world.start('cached');
  world.proxy.forget();
  const { ID } = await orthanc.upload(file);
  await orthanc.get(`/instances/${ID}/file`);
  await orthanc.get(`/instances/${ID}/tags`);
  await orthanc.request('DELETE', `/instances/${ID}`);
  expect(world.proxy.counts()).toEqual({ PUT: 1, DELETE: 1 });
});

test('folders, tags, storage class and encryption are part of the one PUT', async () => {
  const orthanc = await world.start('rich', {
    configuration: {
      MaximumStorageCacheSize: 0,
      AwsS3Storage: {
        ...world.section,
        RootPath: 'hospital/archive',
        StorageStructure: 'legacy',
        StorageClass: 'STANDARD_IA',
        Tags: { project: 'radiology', 'cost centre': 'a+b=c' },
        ServerSideEncryption: 'AES256',
        ChecksumMode: 'WhenRequired',
      },
    },
  });
  world.proxy.forget();
  const { ID } = await orthanc.upload(file);
  const [key = ''] = await world.objects();
  expect(key).toMatch(/^hospital\/archive\/([0-9a-f]{2})\/([0-9a-f]{2})\/\1\2[0-9a-f-]{32}$/);
  expect(world.proxy.requests()).toMatchObject([
    {
      method: 'PUT',
      key,
      headers: {
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-server-side-encryption': 'AES256',
        'content-md5': expect.stringMatching(/^[A-Za-z0-9+/]{22}==$/) as string,
      },
    },
  ]);
  const [put] = world.proxy.requests();
  const tags = new URLSearchParams(put?.headers['x-amz-tagging'] ?? '');
  expect(Object.fromEntries(tags)).toEqual({ project: 'radiology', 'cost centre': 'a+b=c' });

  const read = await orthanc.get(`/instances/${ID}/file`);
  expect(Buffer.compare(read, file)).toBe(0);
  await orthanc.request('DELETE', `/instances/${ID}`);
  expect(await world.objects()).toEqual([]);
  expect(world.proxy.counts()).toEqual({ PUT: 1, GET: 1, DELETE: 1 });
});

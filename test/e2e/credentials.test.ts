// SPDX-License-Identifier: GPL-3.0-or-later
// Identities as clouds give them, found and used by what the plugin's bundle has of each vendor's library; for Azure and Google over
// TLS with a private authority, through a proxy, under the clouds' own names.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  TEST_TOKEN as AZURE_TOKEN,
  answerAzure,
  answerJson,
  ENTRA_HOST,
} from '../support/azure-memory.ts';
import { makeCertificate } from '../support/certificate.ts';
import { makeDicom } from '../support/dicom.ts';
import { type ForwardProxy, startProxy } from '../support/forward-proxy.ts';
import { makeServiceAccount, TEST_PRIVATE_KEY } from '../support/google.ts';
import { answerGoogle, TEST_TOKEN as GOOGLE_TOKEN } from '../support/google-memory.ts';
import type { Configuration, Orthanc, OrthancOptions } from '../support/orthanc.ts';
import {
  type AnswerFromMemory,
  type ScriptedServer,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { createWorld, type World } from '../support/world.ts';

const BLOB_HOST = 'account.blob.core.windows.net';
const certificate = makeCertificate([
  BLOB_HOST,
  ENTRA_HOST,
  'storage.googleapis.com',
  'oauth2.googleapis.com',
]);
const CLIENT_SECRET = 'client-secret-that-no-log-may-show';

let world: World;
let authorities: string;
const running: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  world = await createWorld();
  authorities = join(world.folder, 'ca.pem');
  await writeFile(authorities, certificate.cert);
});

afterAll(async () => {
  await world.close();
  for (const each of running) await each.close();
});

async function start(
  name: string,
  configuration: Configuration,
  environment: OrthancOptions['environment'] = {},
): Promise<Orthanc> {
  const plain = { MaximumStorageCacheSize: 0, AwsS3Storage: undefined };
  return await world.start(name, {
    configuration: { ...plain, ...configuration },
    environment,
    verbosity: '--trace',
  });
}

/** A cloud that all tunnels lead to. */
async function startCloud(
  answer: AnswerFromMemory,
): Promise<{ readonly cloud: ScriptedServer; readonly proxy: ForwardProxy }> {
  const cloud = await startScriptedServer({ certificate, answer });
  const proxy = await startProxy({ targetPort: cloud.port });
  running.push(proxy, cloud);
  return { cloud, proxy };
}

async function expectRoundTrip(orthanc: Orthanc): Promise<void> {
  const file = makeDicom({ sopInstanceUid: '1.2.3.1', pixelBytes: 100_000 });
  const { ID } = await orthanc.upload(file);
  expect((await orthanc.get(`/instances/${ID}/file`)).equals(file)).toBe(true);
  expect((await orthanc.request('DELETE', `/instances/${ID}`)).status).toBe(200);
}

test('S3: those of a container, from its metadata service', async () => {
  const metadata = await startScriptedServer();
  running.push(metadata);
  metadata.always(({ response }) => {
    answerJson(response, 200, {
      AccessKeyId: world.section['AccessKey'],
      SecretAccessKey: world.section['SecretKey'],
      Token: '', // versitygw knows none
      Expiration: new Date(Date.now() + 3_600_000).toISOString(),
    });
  });
  const { AccessKey: _, SecretKey: __, ...section } = world.section;
  const orthanc = await start(
    's3',
    { AwsS3Storage: section },
    { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${metadata.endpoint}/credentials` },
  );
  await expectRoundTrip(orthanc);
  expect(metadata.requests).toHaveLength(1);
});

test('Azure: a client secret in the environment', async () => {
  const { cloud, proxy } = await startCloud(answerAzure);
  const orthanc = await start(
    'azure',
    {
      AzureBlobStorage: { AccountUrl: `https://${BLOB_HOST}`, ContainerName: 'container' },
      HttpsCACertificates: authorities,
      HttpProxy: `http://127.0.0.1:${proxy.port}`,
    },
    {
      AZURE_TENANT_ID: '11111111-2222-3333-4444-555555555555',
      AZURE_CLIENT_ID: '66666666-7777-8888-9999-000000000000',
      AZURE_CLIENT_SECRET: CLIENT_SECRET,
      // HttpProxy outranks it; the SDK's own policies must not hear of it either.
      HTTPS_PROXY: 'http://127.0.0.1:9',
    },
  );
  await expectRoundTrip(orthanc);
  expect(cloud.objects.size).toBe(0);
  expect(cloud.requests.filter(({ url }) => url.includes('/token'))).toHaveLength(1);
  expect(new Set(proxy.tunnels)).toEqual(new Set([ENTRA_HOST, BLOB_HOST]));
  expect(orthanc.log()).not.toMatch(new RegExp(`${AZURE_TOKEN}|${CLIENT_SECRET}`));
});

test('Google: a service account file, through the proxy that the environment names', async () => {
  const { cloud, proxy } = await startCloud(answerGoogle);
  const serviceAccountFile = join(world.folder, 'service-account.json');
  await writeFile(serviceAccountFile, makeServiceAccount());
  const orthanc = await start(
    'google',
    {
      GoogleCloudStorage: { BucketName: 'bucket', ServiceAccountFile: serviceAccountFile },
      HttpsCACertificates: authorities,
    },
    { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` },
  );
  await expectRoundTrip(orthanc);
  expect(cloud.objects.size).toBe(0);
  expect(cloud.requests.filter(({ url }) => url === '/token')).toHaveLength(1);
  expect(new Set(proxy.tunnels)).toEqual(
    new Set(['oauth2.googleapis.com', 'storage.googleapis.com']),
  );
  const [, keyLine = ''] = TEST_PRIVATE_KEY.split('\n');
  expect(orthanc.log()).not.toContain(GOOGLE_TOKEN);
  expect(orthanc.log()).not.toContain(keyLine);
});

// SPDX-License-Identifier: GPL-3.0-or-later
// A real server of each provider with an empty bucket: how the plugin reaches it, and a way behind the plugin's back by the vendor's
// own SDK.

import {
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from '@aws-sdk/client-s3';
import { BlobServiceClient } from '@azure/storage-blob';
import { Storage } from '@google-cloud/storage';

import { startAzure, startGoogle, startS3 } from '../../scripts/services.mjs';
import type { Configuration } from './orthanc.ts';

export type Provider = 's3' | 'azure' | 'google';

export const PROVIDERS: readonly Provider[] = ['s3', 'azure', 'google'];

/** Bucket or container. */
export const BUCKET = 'e2e-bucket';
/** Looks like one, so that a search of the log for it means something. */
export const SECRET_KEY = 'e2e+Secret/Key.that.nobody=may.see';

export interface StoreServer {
  /** Of 127.0.0.1. */
  readonly port: number;
  /** Of the provider's section in Orthanc's configuration. */
  readonly sectionName: string;
  /** @param endpoint the server's, or that of what stands in front of it */
  section(endpoint: string): Configuration;
  /** The method of a request that stores a small content. */
  readonly createMethod: 'PUT' | 'POST';
  /** The key that a request's URL names, or "". */
  readonly keyOf: (url: URL) => string;
  readonly objects: Objects;
  /** What no log may show. */
  readonly secrets: readonly string[];
  stop(): Promise<void>;
}

/** Goes to the server itself: no proxy counts it, none of our code takes part. */
export interface Objects {
  /** @param prefix "" for all
   *  @returns their keys */
  list(prefix: string): Promise<readonly string[]>;
  read(key: string): Promise<Buffer>;
  write(key: string, bytes: Uint8Array): Promise<void>;
  remove(key: string): Promise<void>;
}

/** @param folder is made, for the server's data and what belongs to it */
export function startStoreServer(provider: Provider, folder: string): Promise<StoreServer> {
  switch (provider) {
    case 's3':
      return startS3Server(folder);
    case 'azure':
      return startAzureServer(folder);
    case 'google':
      return startGoogleServer(folder);
    default:
      return provider satisfies never;
  }
}

async function startS3Server(folder: string): Promise<StoreServer> {
  const server = await startS3({ folder, secretKey: SECRET_KEY });
  const { accessKey, secretKey, region } = server;
  await server.createBucket(BUCKET);
  const client = new S3Client({
    endpoint: server.endpoint,
    region,
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
    forcePathStyle: true,
  });
  const at = (key: string) => ({ Bucket: BUCKET, Key: key });
  return {
    port: server.port,
    sectionName: 'AwsS3Storage',
    section: (Endpoint) => ({
      BucketName: BUCKET,
      Region: region,
      AccessKey: accessKey,
      SecretKey: secretKey,
      Endpoint,
      VirtualAddressing: false,
    }),
    createMethod: 'PUT',
    keyOf: keyBelow(`/${BUCKET}/`),
    objects: {
      list: async (prefix) => {
        const keys: string[] = [];
        const listing = { Bucket: BUCKET, Prefix: prefix };
        for await (const page of paginateListObjectsV2({ client }, listing)) {
          keys.push(...(page.Contents ?? []).map(({ Key = '' }) => Key));
        }
        return keys;
      },
      read: async (key) => {
        const { Body } = await client.send(new GetObjectCommand(at(key)));
        return Buffer.from((await Body?.transformToByteArray()) ?? []);
      },
      write: async (key, bytes) => {
        await client.send(new PutObjectCommand({ ...at(key), Body: bytes }));
      },
      remove: async (key) => {
        await client.send(new DeleteObjectCommand(at(key)));
      },
    },
    secrets: [SECRET_KEY],
    stop: async () => {
      client.destroy();
      await server.stop();
    },
  };
}

async function startAzureServer(folder: string): Promise<StoreServer> {
  const server = await startAzure({ folder });
  const { accountName, accountKey, connectionString } = server;
  const container =
    BlobServiceClient.fromConnectionString(connectionString).getContainerClient(BUCKET);
  await container.create();
  return {
    port: server.port,
    sectionName: 'AzureBlobStorage',
    section: (endpoint) => ({
      ConnectionString: connectionString.replace(server.endpoint, endpoint),
      ContainerName: BUCKET,
    }),
    createMethod: 'PUT',
    keyOf: keyBelow(`/${accountName}/${BUCKET}/`),
    objects: {
      list: async (prefix) => {
        const keys: string[] = [];
        for await (const { name } of container.listBlobsFlat({ prefix })) keys.push(name);
        return keys;
      },
      read: (key) => container.getBlobClient(key).downloadToBuffer(),
      write: async (key, bytes) => {
        await container.getBlockBlobClient(key).upload(bytes, bytes.length);
      },
      remove: async (key) => {
        await container.deleteBlob(key);
      },
    },
    secrets: [accountKey],
    stop: () => server.stop(),
  };
}

/** Without credentials, of which fake-gcs-server checks none; over plain HTTP none are sent. */
async function startGoogleServer(folder: string): Promise<StoreServer> {
  const server = await startGoogle({ folder });
  await server.createBucket(BUCKET);
  const bucket = new Storage({ apiEndpoint: server.endpoint, projectId: 'none' }).bucket(BUCKET);
  const keyOfObject = keyBelow(`/storage/v1/b/${BUCKET}/o/`);
  return {
    port: server.port,
    sectionName: 'GoogleCloudStorage',
    section: (Endpoint) => ({ BucketName: BUCKET, Endpoint }),
    createMethod: 'POST',
    keyOf: (url) => url.searchParams.get('name') ?? keyOfObject(url),
    objects: {
      list: async (prefix) => (await bucket.getFiles({ prefix }))[0].map(({ name }) => name),
      read: async (key) => (await bucket.file(key).download())[0],
      write: (key, bytes) => bucket.file(key).save(Buffer.from(bytes), { resumable: false }),
      remove: async (key) => {
        await bucket.file(key).delete();
      },
    },
    secrets: [],
    stop: () => server.stop(),
  };
}

/** For URLs that have the key at their end. */
function keyBelow(folder: string): (url: URL) => string {
  return ({ pathname }) =>
    pathname.startsWith(folder) ? decodeURIComponent(pathname.slice(folder.length)) : '';
}

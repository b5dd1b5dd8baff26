// SPDX-License-Identifier: GPL-3.0-or-later
// The columns of the bench: Orthancs that differ in nothing but in where their files go.

import { mkdir, readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

import type { Configuration } from '../../support/orthanc.ts';
import { type Provider, plugin } from '../../support/world.ts';
import type { BenchStore } from './tools.ts';

export const FORMATS = ['plain', 'A1', 'A2'] as const;
export type Format = (typeof FORMATS)[number];

export interface Column {
  /** As the tables show it. */
  readonly name: string;
  readonly configuration: Configuration;
  readonly environment: Readonly<Record<string, string>>;
  /** Folders that the box has to see. */
  readonly binds: readonly string[];
  readonly plugins: readonly string[];
  /** Of the plugin that is measured; undefined for others. */
  readonly ours?: { readonly provider: Provider; readonly format: Format };
}

/** Orthanc's own folder, which all others are compared with. */
export const FOLDER = 'fs';

export interface Wanted {
  readonly providers: readonly Provider[];
  readonly formats: readonly Format[];
  readonly lanes: readonly number[];
  /** Over TLS; `others` choose by themselves. */
  readonly tls: boolean;
  /** Also with LocalCache, whose WriteBack is on. */
  readonly cache: boolean;
  /** Other builds of src/, by their bundles. */
  readonly bundles: readonly string[];
  /** Other plugins, and a configuration for each, where {STORE} stands for host and port of the store. */
  readonly others: readonly { readonly plugin: string; readonly config: string }[];
  /** Where Orthanc's own storage is put, in a folder of its own. */
  readonly folders: readonly string[];
}

const TITLES: Readonly<Record<Provider, string>> = { s3: 'S3', azure: 'Azure', google: 'Google' };

/** The account of the emulators, which everybody knows. */
const AZURE_ACCOUNT = 'devstoreaccount1';
const AZURE_KEY =
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

function variantsOf({ lanes, cache }: Wanted): readonly (readonly [number, boolean])[] {
  const plain = lanes.map((count) => [count, false] as const);
  return cache ? [...plain, [1, true]] : plain;
}

/** @param keyFile of the encrypted ones */
export async function makeColumns(
  wanted: Wanted,
  store: Pick<BenchStore, 'address' | 'tls'>,
  keyFile: string,
): Promise<readonly Column[]> {
  const none = { configuration: {}, environment: {}, binds: [], plugins: [] };
  const endpoint = wanted.tls ? `https://${store.tls.address}` : `http://${store.address}`;
  const trust = wanted.tls ? { HttpsCACertificates: store.tls.certificateFile } : {};
  const columns: Column[] = [{ ...none, name: FOLDER }];
  for (const folder of wanted.folders) {
    const path = resolve(folder);
    const configuration = { StorageDirectory: `${path}/orthanc-bench-${process.pid}` };
    columns.push({ ...none, name: `folder ${path}`, configuration, binds: [path] });
  }
  for (const other of wanted.others) {
    const file = resolve(other.plugin);
    const text = (await readFile(other.config, 'utf8')).replaceAll('{STORE}', store.address);
    columns.push({
      ...none,
      name: basename(other.config).replace(/\.[^.]*$/, ''),
      configuration: JSON.parse(text) as Configuration,
      binds: [dirname(file)],
      plugins: [file],
    });
  }
  for (const bundle of [undefined, ...wanted.bundles]) {
    for (const provider of wanted.providers) {
      for (const format of wanted.formats) {
        for (const [lanes, isCached] of variantsOf(wanted)) {
          const parts = [
            TITLES[provider],
            ...(format === 'plain' ? [] : [format]),
            ...(wanted.tls ? ['TLS'] : []),
            ...(lanes === 1 ? [] : [`${lanes} lanes`]),
            ...(isCached ? ['LocalCache'] : []),
            ...(bundle === undefined ? [] : [`(${bundle})`]),
          ];
          const encryption = { Enable: true, MasterKey: [1, keyFile], Format: format };
          const Directory = join(dirname(keyFile), `cache-${columns.length}`);
          if (isCached) await mkdir(Directory, { mode: 0o700 });
          const changes = {
            Lanes: lanes,
            ...(isCached ? { LocalCache: { Directory, WriteBack: true } } : {}),
            ...(format === 'plain' ? {} : { StorageEncryption: encryption }),
          };
          columns.push({
            ...none,
            name: parts.join(' '),
            configuration: { ...trust, ...sectionOf(provider, endpoint, changes) },
            environment:
              bundle === undefined ? {} : { ORTHANC_OBJECT_STORAGE_BUNDLE: resolve(bundle) },
            binds: bundle === undefined ? [] : [dirname(resolve(bundle))],
            plugins: [plugin],
            ...(bundle === undefined && lanes === 1 && !isCached
              ? { ours: { provider, format } }
              : {}),
          });
        }
      }
    }
  }
  return columns;
}

export function sectionOf(
  provider: Provider,
  endpoint: string,
  changes: Configuration,
): Configuration {
  switch (provider) {
    case 's3':
      return {
        AwsS3Storage: {
          BucketName: 'bench',
          Region: 'us-east-1',
          AccessKey: 'bench',
          SecretKey: 'bench-secret',
          Endpoint: endpoint,
          VirtualAddressing: false,
          ...changes,
        },
      };
    case 'azure':
      return {
        AzureBlobStorage: {
          ConnectionString: `AccountName=${AZURE_ACCOUNT};AccountKey=${AZURE_KEY};BlobEndpoint=${endpoint}/${AZURE_ACCOUNT}`,
          ContainerName: 'bench',
          ...changes,
        },
      };
    case 'google':
      return { GoogleCloudStorage: { BucketName: 'bench', Endpoint: endpoint, ...changes } };
    default:
      return provider satisfies never;
  }
}

// SPDX-License-Identifier: GPL-3.0-or-later
// An Orthanc with files both on its disk and in the bucket: what it has, and whether it still gives it back.

import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { makeDicom } from './dicom.ts';
import type { Configuration, Orthanc, Upload } from './orthanc.ts';
import { inParallel } from './parallel.ts';
import type { World } from './world.ts';

const CLIENTS = 8;

export interface Archive {
  /** Orthanc's own folder. */
  readonly folder: string;
  /** Without the plugin. */
  startPlain(): Promise<Orthanc>;
  /** @param changes of the provider's section, HybridMode among them
   *  @param others of Orthanc itself
   *  @param environment of its process */
  start(
    changes: Configuration,
    others?: Configuration,
    environment?: Readonly<Record<string, string>>,
  ): Promise<Orthanc>;
  /** The uuids of what is in the folder, sorted. */
  files(): Promise<readonly string[]>;
  /** The uuids of what is in the bucket, sorted.
   *  @param rootPath only those in this folder of it */
  objects(rootPath?: string): Promise<readonly string[]>;
  /** Deletes everything, and expects that nothing is left anywhere. */
  clear(orthanc: Orthanc): Promise<void>;
}

export function createArchive(world: World, name: string): Archive {
  const folder = join(world.folder, name, 'storage');
  const common = { MaximumStorageCacheSize: 0, OverwriteInstances: false };
  const files: Archive['files'] = async () => {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && /^[0-9a-f-]{36}$/.test(entry.name))
      .map((entry) => entry.name)
      .sort();
  };
  return {
    folder,
    files,
    startPlain: () => world.startPlain(name, { StorageDirectory: folder }),
    start: async (changes, others, environment = {}) => {
      // Orthanc makes it only where no plugin stores; the plugin takes its absence for a disk that is not mounted.
      await mkdir(folder, { recursive: true });
      const section = world.configure(changes);
      const configuration = { ...common, ...section, StorageDirectory: folder, ...others };
      return await world.start(name, { configuration, environment });
    },
    objects: async (rootPath) =>
      (await world.objects(rootPath)).map((key) => key.replace(/^.*\//, '').slice(0, 36)).sort(),
    clear: async (orthanc) => {
      for (const id of await patientsOf(orthanc)) {
        await orthanc.request('DELETE', `/patients/${id}`);
      }
      expect(await files()).toEqual([]);
      expect(await world.objects()).toEqual([]);
    },
  };
}

export function makeFiles(count: number, prefix: string, pixelBytes = 2000): readonly Buffer[] {
  return Array.from({ length: count }, (_, index) =>
    makeDicom({ sopInstanceUid: `${prefix}.${index}`, patientId: `P${index % 4}`, pixelBytes }),
  );
}

export const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

export interface Stored {
  readonly uploads: readonly Upload[];
  /** Of each instance's file, by its id. */
  readonly digests: ReadonlyMap<string, string>;
}

export async function store(orthanc: Orthanc, dicom: readonly Buffer[]): Promise<Stored> {
  const uploads = await inParallel(dicom, CLIENTS, (file) => orthanc.upload(file));
  return {
    uploads,
    digests: new Map(uploads.map(({ ID }, index) => [ID, md5(dicom[index] ?? Buffer.alloc(0))])),
  };
}

export async function expectAll(orthanc: Orthanc, { digests }: Stored): Promise<void> {
  await inParallel([...digests], CLIENTS, async ([id, digest]) => {
    expect(md5(await orthanc.get(`/instances/${id}/file`))).toBe(digest);
  });
}

/** Reads a folder behind Orthanc's back: its own, or that of a store which keeps objects as files.
 *  @returns the MD5 of each attachment, by its uuid, sorted by that */
export async function digestsIn(folder: string): Promise<readonly (readonly [string, string])[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && /^[0-9a-f-]{36}/.test(entry.name));
  const digests = await inParallel(files, CLIENTS, async ({ parentPath, name }) => {
    const digest = md5(await readFile(join(parentPath, name)));
    return [name.slice(0, 36), digest] as const;
  });
  return digests.toSorted(([one], [other]) => (one < other ? -1 : 1));
}

export const patientsOf = async (orthanc: Orthanc) => (await orthanc.json('/patients')) as string[];

export interface MoveContent {
  readonly Moved: number;
  readonly AlreadyThere: number;
  readonly Failed: number;
  readonly Failures: readonly unknown[];
  readonly Description: string;
}

/** POST /move-storage, which waits until the job is over. */
export async function move(orthanc: Orthanc, target: string, resources: readonly string[]) {
  const answer = await orthanc.request(
    'POST',
    '/move-storage',
    JSON.stringify({ Resources: resources, TargetStorage: target }),
  );
  return {
    status: answer.status,
    content: JSON.parse(answer.body.toString()) as MoveContent,
  };
}

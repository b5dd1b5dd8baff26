// SPDX-License-Identifier: GPL-3.0-or-later
// A bucket against Orthanc's index: what is missing, what nobody knows, what is not as it was stored.

import type { NamingSettings } from '../config/settings.ts';
import { toStorageError } from '../errors.ts';
import { type ContentType, contentTypeOf, objectKey, parseKey } from '../naming.ts';
import type { OrthancApi } from '../orthanc-api.ts';
import { createLimiter } from '../store/limit.ts';
import type { ObjectInfo, ObjectStore } from '../store/object-store.ts';
import { digestOf } from './copy.ts';
import { listIndex } from './index-list.ts';
import { createUuidTable, type UuidTable } from './uuid-table.ts';

export type Finding =
  | { readonly kind: 'missing'; readonly uuid: string; readonly key: string }
  /** No attachment of the index's has this key. */
  | {
      readonly kind: 'orphan';
      readonly key: string;
      readonly modified: string;
      readonly sizeBytes: number;
    }
  | {
      readonly kind: 'wrong-size';
      readonly key: string;
      readonly sizeBytes: number;
      readonly expectedBytes: number;
    }
  | { readonly kind: 'corrupt'; readonly key: string; readonly reason: string }
  | { readonly kind: 'deleted-orphan'; readonly key: string };

export interface VerifyOptions {
  /** Reads each object and compares its MD5 with the index's. */
  readonly deep: boolean;
  /** Younger objects are no orphans: they are written before the index knows them. */
  readonly minAgeMs: number;
  /** undefined: none is deleted. Else at most so many. */
  readonly deleteOrphansMax: number | undefined;
  readonly atOnce: number;
  readonly signal: AbortSignal;
  readonly now: () => number;
}

export interface VerifyCounts {
  indexed: number;
  objects: number;
  missing: number;
  orphans: number;
  /** Unknown to the index, but too young to tell. */
  recent: number;
  wrongSize: number;
  corrupt: number;
  /** With a key that the settings would never make. */
  foreign: number;
  /** In the other store of a hybrid storage. */
  elsewhere: number;
  deletedOrphans: number;
}

export interface VerifyDependencies {
  readonly api: OrthancApi;
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  /** Orthanc's own folder, with hybrid storage: what lies there is not missing. */
  readonly files: { readonly store: ObjectStore; readonly naming: NamingSettings } | undefined;
  readonly report: (finding: Finding) => void;
  readonly progress: (counts: VerifyCounts) => void;
}

/** Orphans and missing ones are looked at a second time, since Orthanc goes on storing and deleting; the list of them is kept, so it
 *  has an end. */
const SUSPECTS_MAX = 1_000_000;

export async function verify(
  deps: VerifyDependencies,
  options: VerifyOptions,
): Promise<VerifyCounts> {
  const { api, store, naming, report } = deps;
  const { signal } = options;
  const counts: VerifyCounts = {
    indexed: 0,
    objects: 0,
    missing: 0,
    orphans: 0,
    recent: 0,
    wrongSize: 0,
    corrupt: 0,
    foreign: 0,
    elsewhere: 0,
    deletedOrphans: 0,
  };
  const keyOf = (uuid: string, contentType: ContentType) =>
    objectKey(uuid, contentType, naming, false);

  const index = await readIndex(api, (size) => {
    counts.indexed = size;
    deps.progress(counts);
  });
  const youngest = options.now() - options.minAgeMs;
  const orphans: ObjectInfo[] = [];
  const prefix = naming.rootPath === '' ? '' : `${naming.rootPath}/`;
  for await (const object of store.list(prefix, { signal })) {
    counts.objects += 1;
    deps.progress(counts);
    const parsed = parseKey(object.key, naming);
    const known = parsed === undefined ? undefined : index.get(parsed.uuid);
    if (parsed === undefined) {
      counts.foreign += 1;
    } else if (known !== undefined && isNameOf(object.key, parsed.uuid, known.tag)) {
      index.mark(parsed.uuid);
      if (object.sizeBytes !== known.sizeBytes) {
        counts.wrongSize += 1;
        const { key, sizeBytes } = object;
        report({ kind: 'wrong-size', key, sizeBytes, expectedBytes: known.sizeBytes });
      }
    } else if (object.modified.getTime() > youngest) {
      counts.recent += 1;
    } else if (orphans.length < SUSPECTS_MAX) {
      orphans.push(object);
    }
  }

  function isNameOf(key: string, uuid: string, tag: number): boolean {
    // The alternates too, for the types that have one.
    return key === keyOf(uuid, contentTypeOf(tag)) || naming.legacyUnknownFiles;
  }

  const suspects: { readonly uuid: string; readonly key: string }[] = [];
  for (const { uuid, tag } of index.unmarked()) {
    if (suspects.length === SUSPECTS_MAX) break;
    const contentType = contentTypeOf(tag);
    const key = keyOf(uuid, contentType);
    if ((await store.head(key, { signal })) !== undefined) continue;
    const file = deps.files && objectKey(uuid, contentType, deps.files.naming, false);
    if (file !== undefined && (await deps.files?.store.head(file, { signal })) !== undefined) {
      counts.elsewhere += 1;
    } else {
      suspects.push({ uuid, key });
    }
  }

  // The index once more, where it may have changed meanwhile.
  if (suspects.length + orphans.length > 0) {
    const later = await readIndex(api, () => undefined);
    for (const { uuid, key } of suspects) {
      if (later.get(uuid) === undefined) continue;
      counts.missing += 1;
      report({ kind: 'missing', uuid, key });
    }
    for (const object of orphans) {
      const uuid = parseKey(object.key, naming)?.uuid;
      const known = uuid === undefined ? undefined : later.get(uuid);
      if (uuid === undefined || (known !== undefined && isNameOf(object.key, uuid, known.tag))) {
        continue;
      }
      const { key, sizeBytes, modified } = object;
      counts.orphans += 1;
      report({ kind: 'orphan', key, sizeBytes, modified: modified.toISOString() });
      if (counts.deletedOrphans < (options.deleteOrphansMax ?? 0)) {
        await store.delete(key, { signal });
        counts.deletedOrphans += 1;
        report({ kind: 'deleted-orphan', key });
      }
    }
  }
  if (options.deep) await readAll(deps, options, counts);
  deps.progress(counts);
  return counts;
}

async function readIndex(api: OrthancApi, progress: (size: number) => void): Promise<UuidTable> {
  const table = createUuidTable();
  for await (const { uuid, contentBytes, contentType } of listIndex(api)) {
    table.set(uuid, contentBytes, contentTypeOf(contentType));
    progress(table.size);
  }
  return table;
}

/** Each attachment of the index's, read and compared. */
async function readAll(
  { api, store, naming, report, progress }: VerifyDependencies,
  { atOnce, signal }: VerifyOptions,
  counts: VerifyCounts,
): Promise<void> {
  const limiter = createLimiter(atOnce);
  const ongoing = new Set<Promise<void>>();
  for await (const { uuid, contentType, contentBytes, md5Hex } of listIndex(api)) {
    const key = objectKey(uuid, contentTypeOf(contentType), naming, false);
    const work = limiter.run(signal, async () => {
      try {
        const source = { get: store.get.bind(undefined, key, undefined) };
        const digest = await digestOf(source, { signal });
        if (digest.sizeBytes === contentBytes && (md5Hex ?? digest.md5Hex) === digest.md5Hex)
          return;
        counts.corrupt += 1;
        report({ kind: 'corrupt', key, reason: `MD5 ${digest.md5Hex} instead of ${md5Hex}` });
      } catch (error) {
        const { code, message } = toStorageError(error);
        if (signal.aborted) throw error;
        // Told already.
        if (code === 'NOT_FOUND') return;
        counts.corrupt += 1;
        report({ kind: 'corrupt', key, reason: `${code}: ${message}` });
      }
    });
    ongoing.add(work);
    void work.finally(() => ongoing.delete(work)).catch(() => undefined);
    // So that the list is never far ahead.
    if (ongoing.size >= 4 * atOnce) await Promise.race(ongoing);
    progress(counts);
  }
  await Promise.all(ongoing);
}

// SPDX-License-Identifier: GPL-3.0-or-later
// A bucket against Orthanc's index: what is missing, what nobody knows, what is not as it was stored.

import { setMaxListeners } from 'node:events';
import { ciphertextSize, type EncryptionFormat } from '../encryption/sizes.ts';
import { toStorageError } from '../errors.ts';
import { alternateKeys, contentTypeOf, objectKey, parseKey } from '../naming.ts';
import type { OrthancApi } from '../orthanc-api.ts';
import { createLimiter } from '../store/limit.ts';
import type { ObjectInfo } from '../store/object-store.ts';
import { digestOf } from './copy.ts';
import { listIndex } from './index-list.ts';
import type { Side } from './side.ts';
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
  readonly bucket: Side;
  /** Orthanc's own folder, with hybrid storage: what lies there is not missing. */
  readonly files: Side | undefined;
  readonly report: (finding: Finding) => void;
  readonly progress: (counts: VerifyCounts) => void;
}

const FORMATS: readonly EncryptionFormat[] = ['A1', 'A2'];

/** Orphans and missing ones are looked at a second time, since Orthanc goes on storing and deleting. They are kept meanwhile, so that
 *  there is an end to it: a further run finds the others. */
const SUSPECTS_MAX = 100_000;

export async function verify(
  deps: VerifyDependencies,
  options: VerifyOptions,
): Promise<VerifyCounts> {
  const { api, bucket, report } = deps;
  const { store, naming } = bucket;
  const { signal } = options;
  // Each object under way listens; from eleven on, Node would warn of a leak.
  setMaxListeners(0, signal);
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
      if (!sizesOf(parsed.encrypted, known.sizeBytes).includes(object.sizeBytes)) {
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

  /** Whether reads would find it there. */
  function isNameOf(key: string, uuid: string, tag: number): boolean {
    const contentType = contentTypeOf(tag);
    return (bucket.hasKeys ? [false, true] : [false]).some(
      (encrypted) =>
        key === objectKey(uuid, contentType, naming, encrypted) ||
        alternateKeys(uuid, contentType, naming, encrypted).includes(key),
    );
  }

  /** That an object may have. @param encrypted undefined where its name does not tell */
  function sizesOf(encrypted: boolean | undefined, plainBytes: number): readonly number[] {
    const sealed = FORMATS.map((format) => ciphertextSize(format, plainBytes));
    if (!bucket.hasKeys || encrypted === false) return [plainBytes];
    return encrypted === true ? sealed : [plainBytes, ...sealed];
  }

  const suspects: { readonly uuid: string; readonly key: string }[] = [];
  for (const { uuid, tag } of index.unmarked()) {
    if (suspects.length === SUSPECTS_MAX) break;
    const attachment = { uuid, contentType: contentTypeOf(tag) };
    // Stored under another of its names since, or in the other place.
    if ((await bucket.attachments.find(attachment, { signal })) !== undefined) continue;
    if ((await deps.files?.attachments.find(attachment, { signal })) !== undefined) {
      counts.elsewhere += 1;
    } else {
      const isSealed = bucket.format !== undefined;
      const key = objectKey(uuid, attachment.contentType, naming, isSealed);
      suspects.push({ uuid, key });
    }
  }

  // The index once more, where it may have changed meanwhile.
  if (suspects.length + orphans.length > 0) {
    const byUuid = new Map<string, number>();
    const uuids = new Set(suspects.map(({ uuid }) => uuid));
    for (const { key } of orphans) uuids.add(parseKey(key, naming)?.uuid ?? '');
    for await (const { uuid, contentType } of listIndex(api)) {
      if (uuids.has(uuid)) byUuid.set(uuid, contentTypeOf(contentType));
    }
    for (const { uuid, key } of suspects) {
      if (!byUuid.has(uuid)) continue;
      counts.missing += 1;
      report({ kind: 'missing', uuid, key });
    }
    for (const object of orphans) {
      const uuid = parseKey(object.key, naming)?.uuid;
      const type = uuid === undefined ? undefined : byUuid.get(uuid);
      if (uuid === undefined || (type !== undefined && isNameOf(object.key, uuid, type))) continue;
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
  { api, bucket, report, progress }: VerifyDependencies,
  { atOnce, signal }: VerifyOptions,
  counts: VerifyCounts,
): Promise<void> {
  const limiter = createLimiter(atOnce);
  const ongoing = new Set<Promise<void>>();
  for await (const { uuid, contentType, contentBytes, md5Hex } of listIndex(api)) {
    const attachment = { uuid, contentType: contentTypeOf(contentType) };
    const key = objectKey(uuid, attachment.contentType, bucket.naming, bucket.format !== undefined);
    const work = limiter.run(signal, async () => {
      try {
        const digest = await digestOf(bucket.attachments, attachment, { signal });
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

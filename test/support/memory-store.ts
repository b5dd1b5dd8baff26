// SPDX-License-Identifier: GPL-3.0-or-later
// An ObjectStore that is a Map, which notes what it was asked and can be told to fail.

import { createAttachmentStore } from '../../src/attachments/attachments.ts';
import { createFileAttachments } from '../../src/attachments/file-attachments.ts';
import type { NamingSettings } from '../../src/config/settings.ts';
import type { Envelope } from '../../src/encryption/envelope.ts';
import { StorageError, type StorageErrorCode } from '../../src/errors.ts';
import { abortReason, type Signal } from '../../src/store/abort.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import type { Side } from '../../src/tools/common/sides.ts';

export interface MemoryStore extends ObjectStore {
  readonly objects: Map<string, Uint8Array>;
  /** Keys of objects of which it has no checksum. */
  readonly unproven: Set<string>;
  /** Such as "get 12/34/…", in their order. */
  calls(): readonly string[];
  forget(): void;
  /** Asked at each call, which then fails with the code, if any. */
  failWhen(rule: (call: string, count: number) => StorageErrorCode | undefined): void;
  /** Asked to wait at each call. */
  waitAt(gate: (call: string) => Promise<void> | undefined): void;
}

/** As a place of migrations. */
export function sideOf(
  store: ObjectStore,
  naming: NamingSettings,
  options: { readonly isFileSystem?: boolean; readonly envelope?: Envelope } = {},
): Side {
  const { isFileSystem = false, envelope } = options;
  return {
    name: isFileSystem ? 'files' : 'bucket',
    store,
    naming,
    attachments: isFileSystem
      ? createFileAttachments(store, envelope)
      : createAttachmentStore({ store, naming, envelope }),
    isFileSystem,
    hasKeys: envelope !== undefined,
    format: isFileSystem ? undefined : envelope?.format,
    lookalikeFormat: naming.structure === 'legacy' ? envelope?.lookalikeFormat : envelope?.format,
  };
}

export function createMemoryStore(): MemoryStore {
  const objects = new Map<string, Uint8Array>();
  const unproven = new Set<string>();
  const modified = new Map<string, Date>();
  let calls: string[] = [];
  let count = 0;
  let rule: (call: string, count: number) => StorageErrorCode | undefined = () => undefined;
  let gate: (call: string) => Promise<void> | undefined = () => undefined;

  async function enter(call: string, signal: Signal): Promise<void> {
    calls.push(call);
    count += 1;
    const code = rule(call, count);
    await gate(call);
    await Promise.resolve();
    if (signal.aborted) throw abortReason(signal);
    if (code !== undefined) throw new StorageError(code, `${call} failed as it was told`);
  }

  return {
    objects,
    unproven,
    calls: () => calls,
    forget: () => {
      calls = [];
    },
    failWhen: (next) => {
      rule = next;
      count = 0;
    },
    waitAt: (next) => {
      gate = next;
    },
    async put(key, body, { signal }) {
      await enter(`put ${key}`, signal);
      objects.set(key, body.read(0, body.sizeBytes));
      modified.set(key, new Date());
    },
    async get(key, range, sink, { signal, requireChecksum }) {
      await enter(`get ${key}`, signal);
      const all = objects.get(key);
      if (all === undefined) throw new StorageError('NOT_FOUND', `no ${key}`, { key });
      if (requireChecksum === true && unproven.has(key)) {
        throw new StorageError('INTEGRITY', `nothing vouches for ${key}`, { key });
      }
      if (range !== undefined && range.end > all.length) {
        throw new StorageError('BAD_RANGE', `${key} ends at ${all.length}`, { key });
      }
      const bytes = all.slice(range?.start ?? 0, range?.end ?? all.length);
      sink.begin(bytes.length, all.length);
      sink.write(0, bytes);
    },
    async head(key, { signal }) {
      await enter(`head ${key}`, signal);
      const all = objects.get(key);
      return all === undefined ? undefined : { sizeBytes: all.length };
    },
    async delete(key, { signal }) {
      await enter(`delete ${key}`, signal);
      objects.delete(key);
    },
    async *list(prefix, { signal }) {
      await enter(`list ${prefix}`, signal);
      for (const [key, bytes] of [...objects].sort(([a], [b]) => (a < b ? -1 : 1))) {
        if (!key.startsWith(prefix)) continue;
        yield { key, sizeBytes: bytes.length, modified: modified.get(key) ?? new Date() };
      }
    },
    check: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

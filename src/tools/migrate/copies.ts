// SPDX-License-Identifier: GPL-3.0-or-later
// What a migration has written, and what became of it by the end: Orthanc goes on deleting and moving meanwhile.

import type { Attachment } from '../../attachments/attachments.ts';
import { contentTypeOf, folderOf, objectKey, parseKey } from '../../attachments/naming.ts';
import { StorageError } from '../../errors.ts';
import type { OperationOptions } from '../../store/object-store.ts';
import type { IndexedContents } from '../common/indexed-contents.ts';
import type { Side } from '../common/sides.ts';
import { createUuidTable } from '../common/uuid-table.ts';

export interface MigratedCopies {
  /** @param storedBytes which the target must list */
  add(attachment: Attachment, storedBytes: number): void;
  /** A copy whose source went before it was there: Orthanc has moved it, or has deleted it without the copy. */
  addSourceless(attachment: Attachment): void;
  /** Removes copies of what Orthanc has deleted. @returns all copies that are lost or unwanted */
  settle(options: OperationOptions): Promise<readonly LostCopy[]>;
}

export interface LostCopy {
  readonly key: string;
  /** Undefined: Orthanc has deleted it. */
  readonly failure: StorageError | undefined;
}

export function createMigratedCopies(deps: {
  readonly from: Side;
  readonly to: Side;
  readonly index: IndexedContents | undefined;
}): MigratedCopies {
  const { from, to, index } = deps;
  const copies = createUuidTable();
  const sourceless = new Map<string, Attachment>();

  /** Also those that are listed with another size. */
  async function listUnlisted(options: OperationOptions): Promise<ReadonlyMap<string, Attachment>> {
    if (copies.size === 0) return new Map();
    for await (const { key, sizeBytes } of to.store.list(folderOf(to.naming), options)) {
      const uuid = parseKey(key, to.naming)?.uuid;
      if (uuid !== undefined && copies.get(uuid)?.sizeBytes === sizeBytes) copies.mark(uuid);
    }
    const unlisted = new Map<string, Attachment>();
    for (const { uuid, tag } of copies.unmarked()) {
      unlisted.set(uuid, { uuid, contentType: contentTypeOf(tag) });
    }
    return unlisted;
  }

  return {
    add({ uuid, contentType }, storedBytes) {
      copies.set(uuid, storedBytes, contentType);
    },
    addSourceless(attachment) {
      sourceless.set(attachment.uuid, attachment);
    },
    async settle(options) {
      const unlisted = await listUnlisted(options);
      const suspects = new Map([...sourceless, ...unlisted]);
      if (suspects.size === 0) return [];
      const stillKnown = await index?.stillKnown(new Set(suspects.keys()));
      const lost: LostCopy[] = [];
      for (const attachment of suspects.values()) {
        const { uuid, contentType } = attachment;
        const key = objectKey(uuid, contentType, to.naming, to.format !== undefined);
        const wasKnown = index?.find(uuid) !== undefined;
        if (wasKnown && stillKnown?.has(uuid) === false) {
          await to.attachments.remove(attachment, options);
          lost.push({ key, failure: undefined });
        } else if (unlisted.has(uuid)) {
          const isAtSource = (await from.attachments.find(attachment, options)) !== undefined;
          const failure = wasKnown || isAtSource ? unlistedError() : undefined;
          lost.push({ key, failure });
        } else if (!wasKnown) {
          lost.push({ key, failure: sourcelessError() });
        }
        // Else Orthanc has moved it, perhaps to the target: the copy must stay.
      }
      return lost;
    },
  };
}

function unlistedError(): StorageError {
  return new StorageError('INTEGRITY', 'the target does not list it as it was written');
}

function sourcelessError(): StorageError {
  return new StorageError(
    'NOT_FOUND',
    'removed at the source while it was copied: if Orthanc has deleted it, the copy is an orphan, which verify finds; with --orthanc, migrate removes such a copy itself',
  );
}

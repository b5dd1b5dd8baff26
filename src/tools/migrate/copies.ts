// SPDX-License-Identifier: GPL-3.0-or-later
// The copies that a migration has made. Orthanc may delete or move attachments meanwhile, so all copies are checked at the end.

import type { Attachment } from '../../attachments/attachments.ts';
import { contentTypeOf, folderOf, objectKey, parseKey } from '../../attachments/naming.ts';
import { StorageError } from '../../errors.ts';
import type { OperationOptions } from '../../store/object-store.ts';
import { UuidTable } from '../common/uuid-table.ts';
import type { MigrateDependencies } from './migrate.ts';

export interface LostCopy {
  readonly key: string;
  /** Undefined: Orthanc has deleted the attachment. */
  readonly failure: StorageError | undefined;
}

export class MigratedCopies {
  readonly #deps: Pick<MigrateDependencies, 'from' | 'to' | 'index'>;
  readonly #copies = new UuidTable();
  readonly #sourceless = new Map<string, Attachment>();

  constructor(deps: Pick<MigrateDependencies, 'from' | 'to' | 'index'>) {
    this.#deps = deps;
  }

  /** @param storedBytes the size that the target must list */
  add({ uuid, contentType }: Attachment, storedBytes: number): void {
    this.#copies.set(uuid, storedBytes, contentType);
  }

  /** A copy whose source disappeared before the copy was complete. Orthanc has moved the attachment, or has deleted only the source. */
  addSourceless(attachment: Attachment): void {
    this.#sourceless.set(attachment.uuid, attachment);
  }

  /** Removes the copies of attachments that Orthanc has deleted. @returns these, and all copies that are lost */
  async findLost(options: OperationOptions): Promise<readonly LostCopy[]> {
    const { from, to, index } = this.#deps;
    const { naming, format, attachments } = to;
    const unlisted = await this.#listUnlisted(options);
    const suspects = new Map([...this.#sourceless, ...unlisted]);
    if (suspects.size === 0) return [];
    const stillKnown = await index?.stillKnown(new Set(suspects.keys()));
    const lost: LostCopy[] = [];
    for (const attachment of suspects.values()) {
      const { uuid, contentType } = attachment;
      const key = objectKey(uuid, contentType, naming, format !== undefined);
      const wasKnown = index?.find(uuid) !== undefined;
      if (wasKnown && stillKnown?.has(uuid) === false) {
        await attachments.remove(attachment, options);
        lost.push({ key, failure: undefined });
      } else if (unlisted.has(uuid)) {
        const isAtSource = (await from.attachments.find(attachment, options)) !== undefined;
        const failure = new StorageError(
          'INTEGRITY',
          'the target does not list it as it was written',
        );
        lost.push({ key, failure: wasKnown || isAtSource ? failure : undefined });
      } else if (!wasKnown) {
        const failure = new StorageError(
          'NOT_FOUND',
          'removed at the source while it was copied: if Orthanc has deleted it, the copy is an orphan, which verify finds; with --orthanc, migrate removes such a copy itself',
        );
        lost.push({ key, failure });
      }
      // Otherwise Orthanc has moved it, perhaps to the target, and the copy must stay.
    }
    return lost;
  }

  /** Includes copies that are listed with another size. */
  async #listUnlisted(options: OperationOptions): Promise<ReadonlyMap<string, Attachment>> {
    const copies = this.#copies;
    if (copies.size === 0) return new Map();
    const { store, naming } = this.#deps.to;
    for await (const { key, sizeBytes } of store.list(folderOf(naming), options)) {
      const uuid = parseKey(key, naming)?.uuid;
      if (uuid !== undefined && copies.get(uuid)?.sizeBytes === sizeBytes) copies.mark(uuid);
    }
    const unlisted = new Map<string, Attachment>();
    for (const { uuid, tag } of copies.unmarked()) {
      unlisted.set(uuid, { uuid, contentType: contentTypeOf(tag) });
    }
    return unlisted;
  }
}

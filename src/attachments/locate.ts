// SPDX-License-Identifier: GPL-3.0-or-later

import {
  attachmentsOf,
  descendantsOf,
  hasResource,
  type Level,
  type OrthancApi,
  type Resource,
} from '../orthanc/api.ts';
import { Cancellation } from '../store/abort.ts';
import { Semaphore } from '../store/limit.ts';
import type { OperationOptions } from '../store/object-store.ts';
import type { AttachmentStore, FoundObject } from './attachments.ts';
import { contentTypeOf } from './naming.ts';

export interface LocatedAttachment {
  readonly level: Level;
  readonly resource: string;
  readonly name: string;
  readonly uuid: string;
  /** OrthancPluginContentType. */
  readonly contentType: number;
  /** The size of the content that Orthanc stored. */
  readonly plainBytes: number;
  /** Empty: the attachment is lost. */
  readonly stores: readonly LocatedObject[];
}

export interface LocatedObject {
  readonly store: string;
  readonly key: string;
  readonly storedBytes: number;
  /** Only on this disk, and not yet in the bucket (LocalCache). */
  readonly pending?: true;
  /** null: not encrypted. */
  readonly encryption: { readonly format: string; readonly keyId: number } | null;
  /** It is no encrypted object, although its name says so: it was cut or altered. */
  readonly damaged?: true;
}

export interface NamedStore {
  /** "file-system", or the provider's kind. */
  readonly name: string;
  readonly attachments: AttachmentStore;
  /** With LocalCache. */
  readonly isPending?: ((key: string) => Promise<boolean>) | undefined;
}

const AT_ONCE = 16;

/** Finds the attachments of a resource and of all below it.
 *  @returns undefined if Orthanc has no such resource
 *  @throws StorageError any failure of a store, so that no answer is incomplete */
export async function locate(
  deps: { readonly api: OrthancApi; readonly stores: readonly NamedStore[] },
  resource: Resource,
  options: OperationOptions,
): Promise<readonly LocatedAttachment[] | undefined> {
  if (!(await hasResource(deps.api, resource))) return undefined;
  const limiter = new Semaphore(AT_ONCE);
  const family = await descendantsOf(deps.api, resource);
  // After a failure nobody waits for the others.
  const signal = new Cancellation(options.signal);
  const lookUp = Promise.all(
    family.map((member) =>
      limiter.run(signal, async () => {
        const located: LocatedAttachment[] = [];
        for (const indexed of await attachmentsOf(deps.api, member)) {
          const { uuid, contentType, contentBytes, name } = indexed;
          const attachment = { uuid, contentType: contentTypeOf(contentType) };
          const stores: LocatedObject[] = [];
          for (const store of deps.stores) {
            const object = await store.attachments.find(attachment, { signal });
            if (object !== undefined) {
              const { key, storedBytes, isDamaged } = object;
              const encryption = encryptionOf(object);
              const isPending = (await store.isPending?.(key)) === true;
              const pending = isPending ? ({ pending: true } as const) : {};
              const damaged = isDamaged === true ? ({ damaged: true } as const) : {};
              stores.push({
                store: store.name,
                key,
                storedBytes,
                ...pending,
                encryption,
                ...damaged,
              });
            }
          }
          const { level, id } = member;
          const plainBytes = contentBytes;
          located.push({ level, resource: id, name, uuid, contentType, plainBytes, stores });
        }
        return located;
      }),
    ),
  );
  try {
    return (await lookUp).flat();
  } catch (error) {
    signal.abort(error);
    throw error;
  } finally {
    signal.release();
  }
}

function encryptionOf({ encryption }: FoundObject): LocatedObject['encryption'] {
  return encryption === undefined ? null : { format: encryption.format, keyId: encryption.keyId };
}

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
  try {
    const found = await Promise.all(
      family.map((member) => limiter.run(signal, () => locateOne(deps, member, { signal }))),
    );
    return found.flat();
  } catch (error) {
    signal.abort(error);
    throw error;
  } finally {
    signal.release();
  }
}

/** The attachments of this resource alone. */
async function locateOne(
  { api, stores: places }: Parameters<typeof locate>[0],
  member: Resource,
  options: OperationOptions,
): Promise<readonly LocatedAttachment[]> {
  const located: LocatedAttachment[] = [];
  for (const indexed of await attachmentsOf(api, member)) {
    const { uuid, contentType, contentBytes, name } = indexed;
    const attachment = { uuid, contentType: contentTypeOf(contentType) };
    const stores: LocatedObject[] = [];
    for (const place of places) {
      const object = await place.attachments.find(attachment, options);
      if (object === undefined) continue;
      const { key, storedBytes, isDamaged } = object;
      const isPending = (await place.isPending?.(key)) === true;
      stores.push({
        store: place.name,
        key,
        storedBytes,
        ...(isPending ? { pending: true } : {}),
        encryption: encryptionOf(object),
        ...(isDamaged === true ? { damaged: true } : {}),
      });
    }
    const { level, id } = member;
    located.push({
      level,
      resource: id,
      name,
      uuid,
      contentType,
      plainBytes: contentBytes,
      stores,
    });
  }
  return located;
}

function encryptionOf({ encryption }: FoundObject): LocatedObject['encryption'] {
  return encryption === undefined ? null : { format: encryption.format, keyId: encryption.keyId };
}

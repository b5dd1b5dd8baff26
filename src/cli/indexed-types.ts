// SPDX-License-Identifier: GPL-3.0-or-later

import { listIndex } from '../jobs/index-list.ts';
import { createUuidTable } from '../jobs/uuid-table.ts';
import { type ContentType, contentTypeOf } from '../naming.ts';
import { connectToOrthanc } from './orthanc-http.ts';

/** The content types of all attachments, which names in the bucket may not tell and Orthanc's index does. */
export interface IndexedTypes {
  readonly size: number;
  typeOf(uuid: string): ContentType | undefined;
}

export async function readIndexedTypes(orthanc: URL): Promise<IndexedTypes> {
  const types = createUuidTable();
  for await (const { uuid, contentType, contentBytes } of listIndex(connectToOrthanc(orthanc))) {
    types.set(uuid, contentBytes, contentTypeOf(contentType));
  }
  return {
    size: types.size,
    typeOf: (uuid) => {
      const known = types.get(uuid);
      return known === undefined ? undefined : contentTypeOf(known.tag);
    },
  };
}

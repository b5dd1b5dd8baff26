// SPDX-License-Identifier: GPL-3.0-or-later

import type { Expected } from '../../attachments/digest.ts';
import { type ContentType, contentTypeOf } from '../../attachments/naming.ts';
import type { OrthancApi } from '../../orthanc/api.ts';
import { findIndexed, listIndex } from '../../orthanc/index-list.ts';
import { UuidTable } from './uuid-table.ts';

/** All attachments in Orthanc's index: their types, which names may not tell, and the sizes and MD5s that contents are compared with. */
export interface IndexedContents {
  readonly size: number;
  find(uuid: string): IndexedContent | undefined;
  /** Reads the index again. @returns those of the uuids that it still has */
  stillKnown(uuids: ReadonlySet<string>): Promise<Pick<ReadonlySet<string>, 'has'>>;
}

export interface IndexedContent extends Expected {
  readonly contentType: ContentType;
}

export async function readIndexedContents(api: OrthancApi): Promise<IndexedContents> {
  const table = new UuidTable();
  for await (const { uuid, contentType, contentBytes, md5Hex } of listIndex(api)) {
    table.set(uuid, contentBytes, contentTypeOf(contentType));
    if (md5Hex !== undefined) table.setMd5(uuid, md5Hex);
  }
  return {
    size: table.size,
    find(uuid) {
      const known = table.get(uuid);
      if (known === undefined) return undefined;
      const { sizeBytes, tag } = known;
      return { contentType: contentTypeOf(tag), sizeBytes, md5Hex: table.md5Of(uuid) };
    },
    stillKnown: (uuids) => findIndexed(api, uuids),
  };
}

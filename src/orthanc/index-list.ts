// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from '../errors.ts';
import { field, type IndexedAttachment, LEVELS, type OrthancApi, toAttachment } from './api.ts';

/** Pages overlap, because a deletion moves later resources forward, which would leave a gap. */
const OVERLAP = 50;
const PAGE = 1000;

/** All attachments in Orthanc's index.
 *  @throws StorageError UNAVAILABLE before Orthanc 1.12.5, and if many deletions may have left gaps in the list */
export async function* listIndex(
  api: OrthancApi,
  pageSize = PAGE,
): AsyncGenerator<IndexedAttachment> {
  for (const level of LEVELS) {
    let since = 0;
    let tail = new Set<string>();
    for (;;) {
      const path = `/${level}?expand&response-content=Attachments&since=${since}&limit=${pageSize}`;
      const page = await api.get(path);
      if (!Array.isArray(page)) {
        throw new StorageError('UNAVAILABLE', `Orthanc gives no list for GET ${path}`);
      }
      const ids = page.map((resource) => String(field(resource, 'ID')));
      if (tail.size > 0 && !ids.some((id) => tail.has(id))) {
        throw new StorageError(
          'UNAVAILABLE',
          'so much was deleted from Orthanc while its index was read that the list may have gaps: run again',
        );
      }
      for (const resource of page) {
        const attachments = field(resource, 'Attachments');
        if (!Array.isArray(attachments)) {
          throw new StorageError(
            'UNAVAILABLE',
            'Orthanc does not list attachments: this needs Orthanc 1.12.5 or newer',
          );
        }
        const id = String(field(resource, 'ID'));
        if (tail.has(id)) continue;
        for (const info of attachments) {
          const name = String(field(info, 'ContentType'));
          const attachment = toAttachment({ level, id }, name, info);
          if (attachment !== undefined) yield attachment;
        }
      }
      if (page.length < pageSize) break;
      tail = new Set(ids.slice(-OVERLAP));
      since += page.length - OVERLAP;
    }
  }
}

/** The entries of these uuids in the index. @throws as `listIndex` */
export async function findIndexed(
  api: OrthancApi,
  uuids: ReadonlySet<string>,
): Promise<ReadonlyMap<string, IndexedAttachment>> {
  const found = new Map<string, IndexedAttachment>();
  for await (const indexed of listIndex(api)) {
    if (uuids.has(indexed.uuid)) found.set(indexed.uuid, indexed);
  }
  return found;
}

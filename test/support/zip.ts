// SPDX-License-Identifier: GPL-3.0-or-later

import { inflateRawSync } from 'node:zlib';

const END_OF_DIRECTORY = 0x0605_4b50;
const DIRECTORY_ENTRY = 0x0201_4b50;
const STORED = 0;
const DEFLATED = 8;

/** The files of a ZIP archive, by the central directory at its end. Enough for Orthanc's small archives: no ZIP64.
 *  @see PKWARE's APPNOTE.TXT, 4.3 */
export function readZip(archive: Buffer): ReadonlyMap<string, Buffer> {
  let end = archive.length - 22;
  while (end >= 0 && archive.readUInt32LE(end) !== END_OF_DIRECTORY) end -= 1;
  if (end < 0) throw new Error('not a ZIP archive, or not a whole one');
  const files = new Map<string, Buffer>();
  let at = archive.readUInt32LE(end + 16);
  for (let left = archive.readUInt16LE(end + 10); left > 0; left -= 1) {
    if (archive.readUInt32LE(at) !== DIRECTORY_ENTRY) throw new Error(`no entry at ${at}`);
    const method = archive.readUInt16LE(at + 10);
    const packedSize = archive.readUInt32LE(at + 20);
    const nameSize = archive.readUInt16LE(at + 28);
    const extraSize = archive.readUInt16LE(at + 30);
    const commentSize = archive.readUInt16LE(at + 32);
    const header = archive.readUInt32LE(at + 42);
    const name = archive.toString('utf8', at + 46, at + 46 + nameSize);
    const data =
      header + 30 + archive.readUInt16LE(header + 26) + archive.readUInt16LE(header + 28);
    const packed = archive.subarray(data, data + packedSize);
    if (method !== STORED && method !== DEFLATED) throw new Error(`${name}: method ${method}`);
    files.set(name, method === STORED ? packed : inflateRawSync(packed));
    at += 46 + nameSize + extraSize + commentSize;
  }
  return files;
}

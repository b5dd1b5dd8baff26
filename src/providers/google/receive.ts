// SPDX-License-Identifier: GPL-3.0-or-later
// How a read from Google is verified.

import type { CreateChecksum } from '../../checksums/checksums.ts';
import { StorageError } from '../../errors.ts';
import {
  createCrcVerifier,
  type ReceiveOptions,
  receive as receiveFrom,
  type Verifier,
} from '../../http/receive.ts';
import type { Headers, Receiver } from '../../http/transport.ts';

export type ReadOptions = Pick<ReceiveOptions, 'key' | 'range' | 'sink' | 'requireChecksum'>;

/** @throws StorageError as http/receive.ts, and INTEGRITY for an object that Google unpacks on the way */
export function receive(
  options: ReadOptions,
  createChecksum: CreateChecksum,
  status: number,
  headers: Headers,
): Receiver {
  const encoding = headers['x-goog-stored-content-encoding'] ?? headers['content-encoding'];
  if (encoding !== undefined && /gzip/i.test(encoding)) {
    // Length and checksum are those of the packed bytes, and a range of it is the whole. "Accept-Encoding: gzip" does not help, since a
    // sink is told the size first, and nobody knows it before all is unpacked.
    // https://docs.cloud.google.com/storage/docs/transcoding
    throw new StorageError(
      'INTEGRITY',
      `"${options.key}" is stored with Content-Encoding "${encoding}", which this plugin never writes: Google unpacks it on the way, and nothing can be verified; download it, which unpacks it, and upload it again without (gcloud storage cp, both ways)`,
      { key: options.key, isFinal: true },
    );
  }
  return receiveFrom(
    {
      ...options,
      server: 'Google Cloud Storage',
      createVerifier: (answered, isWhole) =>
        isWhole ? createVerifier(answered, createChecksum) : undefined,
    },
    status,
    headers,
  );
}

/** Each object has a CRC32C, composite ones too. */
function createVerifier(headers: Headers, createChecksum: CreateChecksum): Verifier | undefined {
  const expected = /(?:^|[\s,])crc32c=([A-Za-z0-9+/]{6}==)/.exec(headers['x-goog-hash'] ?? '')?.[1];
  if (expected === undefined) return undefined;
  return createCrcVerifier(createChecksum)(expected, 'CRC32C (x-goog-hash)');
}

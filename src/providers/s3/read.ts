// SPDX-License-Identifier: GPL-3.0-or-later
// Reads, and what they are verified by: the CRC32 that this plugin gives each object, or what the server keeps of others' objects.

import { createHash } from 'node:crypto';
import { createCrc32 } from '../../checksums/checksums.ts';
import { loadCrc32c, loadCrc64Nvme } from '../../checksums/wasm-checksums.ts';
import {
  createCrcVerifier,
  createHashVerifier,
  type ReceiveOptions,
  receive,
  type Verifier,
} from '../../http/receive.ts';
import { withSplit } from '../../http/split-read.ts';
import type { Headers } from '../../http/transport.ts';
import { viewOf } from '../../store/bodies.ts';
import { probeKey } from '../operation.ts';
import { PROBE } from '../probe.ts';
import type { S3Client } from './client.ts';
import { CRC32_METADATA, type Requests } from './requests.ts';

/** Connections that help with one large read; with the first one, as many as a large write has. */
const MAX_HELPERS = 3;

export interface ReadDependencies {
  readonly client: S3Client;
  readonly requests: Requests;
  readonly checksums: () => Promise<Checksums>;
}

export interface Read
  extends Pick<ReceiveOptions, 'key' | 'range' | 'sink' | 'split' | 'requireChecksum'> {
  /** Where there is no checksum, the MD5 is compared with the ETag, if that may be one; notes here that it did not match. Undefined: it
   *  is not compared. */
  readonly etag?: { isMismatch: boolean } | undefined;
}

/** One read, its retries included.
 *  @throws AnswerError; StorageError as the shared `receive` does */
export async function readOnce(
  { client, requests, checksums: load }: ReadDependencies,
  read: Read,
  signal: AbortSignal,
  headers?: Headers,
): Promise<void> {
  const checksums = await load();
  const options: ReceiveOptions = {
    ...read,
    server: 'S3',
    createVerifier: (answered, isWhole) =>
      isWhole ? createVerifier(answered, checksums, read.etag) : undefined,
  };
  await client.send(
    {
      ...requests.get(read.key, read.range, headers),
      receive: (status, answered) => receive(options, status, answered),
    },
    signal,
  );
}

/** Reads of a store: with the help of other connections where one is slow, and compared with the ETag where nothing else is there.
 *  @param verifyMd5 also where the reader does not require a checksum
 *  @param probePrefix under which objects may be written */
export function createReader(
  deps: ReadDependencies & {
    readonly maxConnections: number;
    readonly verifyMd5: boolean;
    readonly probePrefix: string;
  },
): (read: Read, signal: AbortSignal) => Promise<void> {
  const helpers = Math.min(MAX_HELPERS, deps.maxConnections - 1);
  /** Nothing tells: some servers give 32 other digits to what they encrypt by default, and so do gateways. Undefined: not tried yet. */
  let areEtagsMd5: boolean | undefined;

  /** Stores and removes an object of its own, once. It is asked where a read does not match its ETag: that of another program's object
   *  without a checksum.
   *  @returns true also where that failed: in doubt, an object that may be damaged is not handed on */
  async function tryEtags(signal: AbortSignal): Promise<boolean> {
    if (areEtagsMd5 !== undefined) return areEtagsMd5;
    const { client, requests } = deps;
    const key = probeKey(deps.probePrefix);
    try {
      const put = await requests.put(key, viewOf(PROBE), signal);
      const { headers } = await client.send(put, signal);
      await client.send({ method: 'DELETE', key }, signal);
      const md5 = createHash('md5').update(PROBE).digest('hex');
      areEtagsMd5 = headers['etag']?.replaceAll('"', '') === md5;
      return areEtagsMd5;
    } catch {
      return true;
    }
  }

  async function readWithHelp(read: Read, signal: AbortSignal): Promise<void> {
    if (read.sink.anyOrder !== true) {
      await readOnce(deps, read, signal);
      return;
    }
    await withSplit(
      {
        sink: read.sink,
        helpers,
        signal,
        now: () => performance.now(),
        fetch: (range, sink, version, helperSignal) =>
          readOnce(deps, { ...read, range, sink }, helperSignal, { 'if-match': version }),
      },
      (split) => readOnce(deps, split === undefined ? read : { ...read, split }, signal),
    );
  }

  return async (read, signal) => {
    const isWanted = deps.verifyMd5 || read.requireChecksum === true;
    const etag = isWanted && areEtagsMd5 !== false ? { isMismatch: false } : undefined;
    try {
      await readWithHelp({ ...read, etag }, signal);
    } catch (thrown) {
      if (etag?.isMismatch !== true || (await tryEtags(signal))) throw thrown;
      await readWithHelp(read, signal);
    }
  };
}

/** What to verify each of the headers with. */
export type Checksums = readonly {
  readonly header: string;
  readonly create: (expected: string, name: string) => Verifier;
}[];

/** The first that is there counts. Ours is of what was sent; a server's may be of what arrived. The others in the order of their cost.
 *  To be loaded once for a store. */
export async function loadChecksums(): Promise<Checksums> {
  return [
    { header: `x-amz-meta-${CRC32_METADATA}`, create: createCrcVerifier(createCrc32) },
    { header: 'x-amz-checksum-crc32', create: createCrcVerifier(createCrc32) },
    { header: 'x-amz-checksum-sha1', create: createBase64Verifier('sha1') },
    { header: 'x-amz-checksum-sha256', create: createBase64Verifier('sha256') },
    { header: 'x-amz-checksum-crc32c', create: createCrcVerifier(await loadCrc32c()) },
    { header: 'x-amz-checksum-crc64nvme', create: createCrcVerifier(await loadCrc64Nvme()) },
  ];
}

function createBase64Verifier(
  algorithm: 'sha1' | 'sha256',
): (expected: string, name: string) => Verifier {
  return (expected, name) => createHashVerifier(algorithm, 'base64', expected, name);
}

/** In a message, what does not match. */
const ETAG_MISMATCH =
  'ETag, taken for an MD5: either the object is damaged, or the ETags of this server are none ("verify --deep" compares it with the MD5 in Orthanc\'s index)';

function createVerifier(
  headers: Headers,
  checksums: Checksums,
  etag: Read['etag'],
): Verifier | undefined {
  for (const { header, create } of checksums) {
    const expected = headers[header];
    // "…-N" is a checksum of the checksums of N parts, which only somebody who knows the parts can verify.
    if (expected === undefined || expected.includes('-')) continue;
    return create(expected, `checksum (${header})`);
  }
  const md5 = etag === undefined ? undefined : readMd5Etag(headers);
  if (etag === undefined || md5 === undefined) return undefined;
  const verifier = createHashVerifier('md5', 'hex', md5, ETAG_MISMATCH);
  return {
    ...verifier,
    mismatch: () => {
      const mismatch = verifier.mismatch();
      etag.isMismatch = mismatch !== undefined;
      return mismatch;
    },
  };
}

/** The ETag is the content's MD5 for a single PUT that was not encrypted with KMS or a customer's key, at AWS. Other servers may have
 *  ETags of 32 digits that are none, of what they encrypt by default, say; `tryEtags` finds out.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html */
function readMd5Etag(headers: Headers): string | undefined {
  const isOpaque =
    headers['x-amz-server-side-encryption']?.startsWith('aws:kms') === true ||
    headers['x-amz-server-side-encryption-customer-algorithm'] !== undefined;
  if (isOpaque) return undefined;
  return /^"?([0-9a-f]{32})"?$/.exec(headers['etag'] ?? '')?.[1];
}

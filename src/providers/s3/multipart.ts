// SPDX-License-Identifier: GPL-3.0-or-later
// Large contents in parts. @aws-sdk/lib-storage would hold each part under way in memory; here each is read from the body while it is sent.

import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
} from '@aws-sdk/client-s3';
import { combineCrc32, encodeCrc32 } from '../../checksums/checksums.ts';
import { StorageError } from '../../errors.ts';
import { AnswerError } from '../../http/answer-error.ts';
import { digest, window } from '../../http/content.ts';
import { asRecord } from '../../http/words.ts';
import type { Logger } from '../../log.ts';
import type { Signal } from '../../store/abort.ts';
import type { Body, PutOptions } from '../../store/object-store.ts';
import { createCleanups } from '../cleanups.ts';
import { type PartPlan, planParts, sendParts } from '../parts.ts';
import type { S3Client } from './client.ts';
import type { Requests } from './requests.ts';
import type { S3Settings } from './settings.ts';
import { CRC32_METADATA } from './verifiers.ts';

const MIB = 1024 * 1024;
/** S3's limits. @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
const LIMITS = { minPartBytes: 5 * MIB, maxParts: 10_000 };
/** Without UseTransferManager, contents up to this size are sent by a single PUT. It has one connection's speed, and a break at its end costs
 *  the whole. */
export const SINGLE_PUT_MAX_BYTES = 64 * MIB;
const DEFAULT_PART_BYTES = 16 * MIB;
const DEFAULT_POOL_SIZE = 4;
/** The parts of a failed upload cost storage until it is aborted. */
const ABORT_TIMEOUT_MS = 10_000;

export interface Multipart {
  /** Whether a content of this size goes in parts. */
  isFor(sizeBytes: number): boolean;
  put(key: string, body: Body, options: PutOptions): Promise<void>;
  /** Resolves when failed uploads are cleaned up behind, or after the time given. */
  settle(withinMs: number): Promise<void>;
}

export interface MultipartDependencies {
  readonly settings: S3Settings;
  readonly client: S3Client;
  readonly requests: Requests;
  readonly log: Logger;
}

/** Computed before the upload begins, which takes the checksum of the whole along. */
interface Checksums {
  readonly parts: readonly number[];
  readonly whole: number;
}

/** An upload that has begun. */
interface Upload {
  readonly key: string;
  readonly id: string;
  readonly crc32: number;
  /** Whether the server compares that checksum with the whole. */
  readonly isFullObject: boolean;
}

export function createMultipart(deps: MultipartDependencies): Multipart {
  const { settings, client, requests, log } = deps;
  const { transfer, bucketName: bucket } = settings;
  const poolSize = transfer.always ? Math.max(1, transfer.poolSize) : DEFAULT_POOL_SIZE;
  const wantedPartBytes = transfer.always
    ? Math.max(LIMITS.minPartBytes, transfer.partSizeBytes)
    : DEFAULT_PART_BYTES;
  const singlePutMaxBytes = transfer.always ? wantedPartBytes : SINGLE_PUT_MAX_BYTES;
  const withCrc32 = settings.checksumMode === 'WhenSupported';
  const cleanups = createCleanups();

  async function start(key: string, crc32: number, signal: Signal): Promise<Upload> {
    const input = {
      Bucket: bucket,
      Key: key,
      // Every reader can verify a checksum of the full object. The default is one over the parts' checksums.
      ...(withCrc32 ? ({ ChecksumAlgorithm: 'CRC32', ChecksumType: 'FULL_OBJECT' } as const) : {}),
    };
    const headers = {
      ...requests.object(key, crc32),
      'content-type': 'application/octet-stream',
    };
    const created = await client.call(
      () => new CreateMultipartUploadCommand(input),
      signal,
      headers,
    );
    if (created.UploadId === undefined) {
      throw new StorageError('UNAVAILABLE', `S3 began no multipart upload for "${key}"`, { key });
    }
    // Servers from before 2025 know no type, and must not get the checksum of the whole at the end.
    const isFullObject = created.ChecksumType === 'FULL_OBJECT';
    return { key, id: created.UploadId, crc32, isFullObject };
  }

  async function sendPart(
    { key, id }: Upload,
    number: number,
    content: Body,
    crc32: number,
    signal: Signal,
  ): Promise<CompletedPart> {
    const request = await requests.part(key, { uploadId: id, number, crc32 }, content, signal);
    const { etag } = (await client.send(request, signal)).headers;
    if (etag === undefined) {
      throw new StorageError(
        'UNAVAILABLE',
        `S3 told no ETag of part ${number} of "${key}", without which the upload cannot be completed`,
        { key },
      );
    }
    const checksum = withCrc32 ? { ChecksumCRC32: encodeCrc32(crc32) } : {};
    return { PartNumber: number, ETag: etag, ...checksum };
  }

  async function complete(
    upload: Upload,
    parts: readonly CompletedPart[],
    sizeBytes: number,
    { signal, onlyIfVersion }: PutOptions,
  ): Promise<void> {
    const { key } = upload;
    const input = {
      Bucket: bucket,
      Key: key,
      UploadId: upload.id,
      IfMatch: onlyIfVersion,
      MultipartUpload: { Parts: [...parts] },
      ...(upload.isFullObject
        ? ({ ChecksumType: 'FULL_OBJECT', ChecksumCRC32: encodeCrc32(upload.crc32) } as const)
        : {}),
    };
    try {
      const { ETag, Key, Location } = await client.call(
        () => new CompleteMultipartUploadCommand(input),
        signal,
      );
      // S3 begins the answer before it is done, so its status says nothing.
      if ((ETag ?? Key ?? Location) === undefined) {
        throw new StorageError(
          'UNAVAILABLE',
          `S3 did not say that the multipart upload of "${key}" is complete`,
          { key },
        );
      }
    } catch (thrown) {
      const isGone = thrown instanceof AnswerError && thrown.code === 'NoSuchUpload';
      if (isGone && (await isCompleted(upload, parts.length, sizeBytes, signal))) return;
      throw thrown;
    }
  }

  /** After a lost answer, the repeated completion may find the upload gone. It is done if the object is there. */
  async function isCompleted(
    { key, crc32 }: Upload,
    parts: number,
    sizeBytes: number,
    signal: Signal,
  ): Promise<boolean> {
    try {
      const { headers } = await client.send({ method: 'HEAD', key }, signal);
      const told = headers[`x-amz-meta-${CRC32_METADATA}`];
      const isOurs =
        told === undefined
          ? headers['etag']?.endsWith(`-${parts}"`) === true
          : told === encodeCrc32(crc32);
      return headers['content-length'] === String(sizeBytes) && isOurs;
    } catch {
      return false;
    }
  }

  async function abort({ key, id }: Upload): Promise<void> {
    try {
      const input = { Bucket: bucket, Key: key, UploadId: id };
      const signal = AbortSignal.timeout(ABORT_TIMEOUT_MS);
      await client.call(() => new AbortMultipartUploadCommand(input), signal);
    } catch (thrown) {
      const { name, code = name } = asRecord(thrown);
      // Its end had come, or was carried out although nobody heard of it.
      if (code === 'NoSuchUpload') return;
      log.warning(
        `S3: the multipart upload of "${key}" could not be aborted (${String(code)}); its parts take space until a lifecycle rule removes them`,
      );
    }
  }

  return {
    isFor: (sizeBytes) => sizeBytes > singlePutMaxBytes,

    async put(key, body, options) {
      const { signal } = options;
      const plan = planParts(body.sizeBytes, wantedPartBytes, LIMITS);
      const checksums = await computeChecksums(body, plan, signal);
      const upload = await cleanups.start(
        signal,
        (outliving) => start(key, checksums.whole, outliving),
        abort,
      );
      try {
        const parts = await sendParts(body, plan, poolSize, signal, (index, content, partSignal) =>
          sendPart(upload, index + 1, content, checksums.parts[index] ?? 0, partSignal),
        );
        await complete(upload, parts, body.sizeBytes, options);
      } catch (thrown) {
        // Not awaited: the caller may be at its deadline.
        cleanups.add(() => abort(upload));
        throw thrown;
      }
    },

    settle: (withinMs) => cleanups.settle(withinMs),
  };
}

/** In one pass over the content, which saves one over each part. */
async function computeChecksums(
  body: Body,
  { partBytes, count }: PartPlan,
  signal: Signal,
): Promise<Checksums> {
  const parts: number[] = [];
  let whole = 0;
  for (let index = 0; index < count; index++) {
    const start = index * partBytes;
    const content = window(body, start, Math.min(start + partBytes, body.sizeBytes));
    const { crc32 = 0 } = await digest(content, { crc32: true, md5: false, sha256: false }, signal);
    parts.push(crc32);
    whole = combineCrc32(whole, crc32, content.sizeBytes);
  }
  return { parts, whole };
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Verifies what arrives for a read: its range, its length and its checksum.

import { createHash } from 'node:crypto';
import type { Checksum, CreateChecksum } from '../checksums/checksums.ts';
import { StorageError } from '../errors.ts';
import type { ByteRange, Sink } from '../store/object-store.ts';
import type { SplitRead } from './split-read.ts';
import type { Headers, Receiver } from './transport.ts';

export interface ReceiveOptions {
  readonly key: string;
  readonly range: ByteRange | undefined;
  readonly sink: Sink;
  /** For messages: "S3". */
  readonly server: string;
  /** For the checksum, if there is one. @param isWhole the answer is the whole object */
  createVerifier(headers: Headers, isWhole: boolean): Verifier | undefined;
  /** Refuse an object without a checksum. */
  readonly requireChecksum?: boolean | undefined;
  /** Fetches the rest over other connections when this one is slow. */
  readonly split?: SplitRead | undefined;
}

export interface Verifier extends Pick<Checksum, 'update' | 'append'> {
  /** @returns the name of what does not match, or undefined */
  mismatch(): string | undefined;
}

/** @throws StorageError BAD_RANGE when the object ends before the range does; SHORT_BODY or INTEGRITY for an answer that is not
 *  what was asked for */
export function receive(options: ReceiveOptions, status: number, headers: Headers): Receiver {
  const { key, sink, server } = options;
  const extent = readExtent(options, status, headers);
  const verifier = options.createVerifier(headers, extent.isWhole);
  if (verifier === undefined && options.requireChecksum === true) {
    throw new StorageError(
      'INTEGRITY',
      `neither "${key}" nor ${server} has a checksum of it, so that nothing tells whether it comes as it was stored`,
      { key, isFinal: true },
    );
  }
  sink.begin(extent.sizeBytes, extent.totalBytes);
  let received = 0;
  const receiver: Receiver = {
    write(chunk) {
      if (received + chunk.length > extent.sizeBytes) {
        throw new StorageError(
          'INTEGRITY',
          `${server} sent more than the ${extent.sizeBytes} bytes of "${key}" that it had announced`,
          { key },
        );
      }
      sink.write(received, chunk);
      received += chunk.length;
      verifier?.update(chunk);
    },
    end() {
      if (received !== extent.sizeBytes) {
        throw new StorageError(
          'SHORT_BODY',
          `${server} sent ${received} of ${extent.sizeBytes} bytes of "${key}"`,
          { key },
        );
      }
      const mismatch = verifier?.mismatch();
      if (mismatch !== undefined) {
        throw new StorageError(
          'INTEGRITY',
          `what ${server} sent for "${key}" does not match its ${mismatch}`,
          { key },
        );
      }
    },
  };
  const isSplittable = verifier === undefined || verifier.append !== undefined;
  if (options.split === undefined || !isSplittable) return receiver;
  return options.split.wrap(receiver, {
    start: options.range?.start ?? 0,
    sizeBytes: extent.sizeBytes,
    version: headers['etag'],
    takeRest(pieces) {
      for (const piece of pieces) {
        received += piece.sizeBytes;
        verifier?.append?.(piece.crc32, piece.sizeBytes);
      }
    },
  });
}

interface Extent {
  readonly sizeBytes: number;
  readonly totalBytes: number;
  readonly isWhole: boolean;
}

function readExtent(options: ReceiveOptions, status: number, headers: Headers): Extent {
  const { key, range, server } = options;
  const lengthHeader = headers['content-length'];
  const announced = lengthHeader === undefined ? undefined : Number(lengthHeader);
  if (range === undefined) {
    if (announced === undefined) {
      throw new StorageError(
        'INTEGRITY',
        `${server} answered the read of "${key}" with status ${status} and without a length (Content-Length), so that nobody could tell whether all of it came; does a proxy, or the server at Endpoint, pack or unpack what it passes on?`,
        { key, isFinal: true },
      );
    }
    if (status !== 200 || !Number.isSafeInteger(announced)) {
      throw new StorageError(
        'INTEGRITY',
        `${server} answered the read of "${key}" with status ${status} and the length "${lengthHeader}"`,
        { key },
      );
    }
    return { sizeBytes: announced, totalBytes: announced, isWhole: true };
  }
  const contentRange = headers['content-range'];
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(contentRange ?? '');
  const wanted = range.end - range.start;
  // Instead of 416, azurite 3.35 answers with "bytes 0--1/0".
  if (contentRange?.endsWith('/0') === true) {
    throw new StorageError(
      'BAD_RANGE',
      `bytes ${range.start} to ${range.end} were asked of "${key}", which is empty`,
      { key },
    );
  }
  // rclone up to 1.75 answers a range with 200. The rest of the head then tells that it is a range.
  const isRange =
    status === 206 || (status === 200 && announced === Number(match?.[2]) - Number(match?.[1]) + 1);
  if (!isRange || match === null) {
    // A server that knows no ranges sends the whole object. That is right only if the range is the whole.
    const isAsked = range.mayEndEarly === true || announced === range.end;
    if (status === 200 && range.start === 0 && announced !== undefined && isAsked) {
      return { sizeBytes: announced, totalBytes: announced, isWhole: true };
    }
    throw new StorageError(
      'INTEGRITY',
      `${server} answered the read of bytes ${range.start} to ${range.end} of "${key}" with status ${status} and ${
        contentRange === undefined ? 'no Content-Range' : `Content-Range "${contentRange}"`
      }`,
      { key },
    );
  }
  const [first, last, total] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const isCut = first === range.start && last + 1 === total && total < range.end;
  if (isCut && range.mayEndEarly === true && (announced ?? total - first) === total - first) {
    return { sizeBytes: total - first, totalBytes: total, isWhole: first === 0 };
  }
  if (isCut) {
    throw new StorageError(
      'BAD_RANGE',
      `bytes ${range.start} to ${range.end} were asked of "${key}", which has ${total}`,
      { key },
    );
  }
  if (first !== range.start || last + 1 !== range.end || (announced ?? wanted) !== wanted) {
    throw new StorageError(
      'INTEGRITY',
      `${server} answered the read of bytes ${range.start} to ${range.end} of "${key}" with "${contentRange}" and the length ${announced}`,
      { key },
    );
  }
  return { sizeBytes: wanted, totalBytes: total, isWhole: first === 0 && last + 1 === total };
}

export function createHashVerifier(
  algorithm: 'sha256' | 'sha1' | 'md5',
  encoding: 'hex' | 'base64',
  expected: string,
  name: string,
): Verifier {
  const hash = createHash(algorithm);
  return {
    update: (chunk) => {
      hash.update(chunk);
    },
    mismatch: () => (hash.digest(encoding) === expected ? undefined : name),
  };
}

export function createCrcVerifier(
  create: CreateChecksum,
): (expected: string, name: string) => Verifier {
  return (expected, name) => {
    const checksum = create();
    return {
      ...checksum,
      mismatch: () => (checksum.toBase64() === expected ? undefined : name),
    };
  };
}

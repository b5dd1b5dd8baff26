// SPDX-License-Identifier: GPL-3.0-or-later
// A large read over a slow connection gets help: other connections fetch pieces from the object's end. The first one goes on from the
// start, and hangs up where they meet. Fast reads (one connection keeps the loop busy) and small ones stay one request.

import { crc32 } from '../checksums/checksums.ts';
import { StorageError } from '../errors.ts';
import { abortReason, Cancellation, type Signal } from '../store/abort.ts';
import type { ByteRange, Sink } from '../store/object-store.ts';
import type { Receiver } from './transport.ts';

const MIB = 1024 * 1024;
/** A piece is long enough for its connection to come up to speed. */
const PIECE_BYTES = 8 * MIB;
/** A read that takes longer gets more connections. */
const PATIENCE_MS = 1_000;
/** With less to come, help would arrive too late. */
const WORTHWHILE_BYTES = 2 * PIECE_BYTES;

export interface SplitRead {
  /** Called at the answer of each attempt. */
  wrap(receiver: Receiver, answer: SplitAnswer): Receiver;
}

export interface SplitAnswer {
  /** Where in the object the answer begins. */
  readonly start: number;
  readonly sizeBytes: number;
  /** The ETag. Without one there is no help, since pieces could be of different versions. */
  readonly version: string | undefined;
  /** Told of the other connections' pieces, in order, before the receiver's `end`. */
  takeRest(pieces: readonly Piece[]): void;
}

export interface Piece {
  readonly start: number;
  readonly sizeBytes: number;
  readonly crc32: number;
}

export interface SplitOptions {
  /** Where it does not take bytes in any order, the first connection stays alone. */
  readonly sink: Sink;
  /** How many other connections may help. */
  readonly helpers: number;
  readonly signal: Signal;
  /** Reads a range of one version of the object, retries included. */
  fetch(range: ByteRange, sink: Sink, version: string, signal: Signal): Promise<void>;
}

/** Thrown from a receiver to hang up. The retry repeats nothing that was aborted. Made once, since the stack of an error costs a tenth of
 *  a small read. */
const ENOUGH = new StorageError('ABORTED', 'the rest came over other connections');

/** Help for one attempt. */
interface Help {
  /** Where the helpers' pieces begin, within the answer; the answer's end once a helper has failed. */
  claimedFrom(): number;
  /** Resolves with the pieces in order once all are there, or with undefined when a helper failed. */
  finish(): Promise<readonly Piece[] | undefined>;
  stop(): void;
}

/** If a helper fails, the first connection goes on alone, or the object is read again without help.
 *  @param read reads the whole, retries included */
export async function withSplit(
  options: SplitOptions,
  read: (split: SplitRead | undefined) => Promise<void>,
): Promise<void> {
  if (options.sink.anyOrder !== true) {
    await read(undefined);
    return;
  }
  let help: Help | undefined;
  let complete: (() => Promise<boolean>) | undefined;

  const wrap: SplitRead['wrap'] = (receiver, answer) => {
    // A new attempt. The sink has begun anew, and has lost what earlier helpers fetched.
    help?.stop();
    help = undefined;
    const { version } = answer;
    const isWorthwhile = answer.sizeBytes >= WORTHWHILE_BYTES;
    if (version === undefined || options.helpers < 1 || !isWorthwhile) return receiver;
    const startMs = performance.now();
    let received = 0;
    return {
      write(chunk) {
        const limit = help?.claimedFrom() ?? answer.sizeBytes;
        const taken = Math.min(chunk.length, limit - received);
        if (taken > 0) receiver.write(taken === chunk.length ? chunk : chunk.subarray(0, taken));
        received += taken;
        if (help !== undefined && received === limit && limit < answer.sizeBytes) {
          const helped = help;
          complete = async () => {
            const pieces = await helped.finish();
            if (pieces === undefined) return false;
            answer.takeRest(pieces);
            try {
              receiver.end();
            } catch (thrown) {
              if (!isIntegrityError(thrown)) throw thrown;
              // As any answer that was altered on the way, it is asked for once more.
              return false;
            }
            return true;
          };
          throw ENOUGH;
        }
        const isSlow =
          help === undefined &&
          answer.sizeBytes - received >= WORTHWHILE_BYTES &&
          performance.now() - startMs > PATIENCE_MS;
        if (isSlow) help = startHelp(options, answer, version, () => received);
      },
      end() {
        receiver.end();
      },
    };
  };

  try {
    await read({ wrap });
  } catch (thrown) {
    if (thrown !== ENOUGH || complete === undefined) throw thrown;
    if (!(await complete())) await read(undefined);
  } finally {
    help?.stop();
  }
}

function isIntegrityError(thrown: unknown): boolean {
  return thrown instanceof StorageError && thrown.code === 'INTEGRITY';
}

function startHelp(
  options: SplitOptions,
  answer: SplitAnswer,
  version: string,
  received: () => number,
): Help {
  const { sink } = options;
  const link = new Cancellation(options.signal);
  const pieces: Piece[] = [];
  let claimedFrom = answer.sizeBytes;
  let hasFailed = false;

  async function fetchPiece(start: number, end: number): Promise<void> {
    let checksum = 0;
    const range = { start: answer.start + start, end: answer.start + end };
    const pieceSink: Sink = {
      begin: () => {
        checksum = 0;
      },
      write: (offset, bytes) => {
        checksum = crc32(bytes, checksum);
        sink.write(start + offset, bytes);
      },
    };
    await options.fetch(range, pieceSink, version, link);
    pieces.push({ start, sizeBytes: end - start, crc32: checksum });
  }

  async function helper(): Promise<void> {
    // The first connection reads on meanwhile, and would overtake a piece that is close to it.
    while (claimedFrom - received() >= WORTHWHILE_BYTES && !link.aborted) {
      const end = claimedFrom;
      claimedFrom -= PIECE_BYTES;
      await fetchPiece(end - PIECE_BYTES, end);
    }
  }

  const work = Promise.all(Array.from({ length: options.helpers }, helper)).catch(() => {
    hasFailed = true;
    link.abort();
  });
  return {
    claimedFrom: () => (hasFailed ? answer.sizeBytes : claimedFrom),
    async finish() {
      await work;
      if (options.signal.aborted) throw abortReason(options.signal);
      if (hasFailed) return undefined;
      return pieces.sort((a, b) => a.start - b.start);
    },
    stop() {
      link.release();
      link.abort();
    },
  };
}

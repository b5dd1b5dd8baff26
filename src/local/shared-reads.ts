// SPDX-License-Identifier: GPL-3.0-or-later
// Reads of the bucket. Whole ones become cached files on their way, and those that ask for the same at the same time share one request.

import { Cancellation, untilAborted } from '../store/abort.ts';
import { viewOf } from '../store/bodies.ts';
import { Semaphore } from '../store/limit.ts';
import type { ByteRange, GetOptions, ObjectStore, Sink } from '../store/object-store.ts';
import { type Disk, ONE_PIECE_BYTES, type Receiving } from './disk.ts';
import type { Fill, ObjectStates } from './states.ts';

/** So many objects may wait until the disk has them, in memory. Reads beyond are as without a cache. */
const KEPT_MAX = 16;

/** What those who wait for another one's read get: its memory, the file that was made of it, or nothing. */
type Outcome = { readonly memory: Uint8Array } | 'file' | 'nothing';

interface Flight {
  /** Cancelled: the object has changed since, and later reads must see that. */
  readonly fill: Fill;
  readonly outcome: Promise<Outcome>;
  /** Who reads the memory. */
  readers: number;
}

export class SharedReads {
  readonly #bucket: Pick<ObjectStore, 'get'>;
  readonly #states: ObjectStates;
  readonly #disk: Disk;
  readonly #flights = new Map<string, Flight>();
  readonly #kept = new Set<Promise<void>>();
  /** One after the other: side by side, they take the processor from those who wait for an answer. */
  readonly #writing = new Semaphore(1);
  #reading = 0;

  constructor(deps: {
    readonly bucket: Pick<ObjectStore, 'get'>;
    readonly states: ObjectStates;
    readonly disk: Disk;
  }) {
    this.#bucket = deps.bucket;
    this.#states = deps.states;
    this.#disk = deps.disk;
  }

  /** Requests to the bucket that are under way. */
  get reading(): number {
    return this.#reading;
  }

  /** Resolves when what was read is on the disk. */
  async settled(): Promise<void> {
    await Promise.all(this.#kept);
  }

  /** @returns false where the object is here now, and is to be read again */
  async get(
    key: string,
    range: ByteRange | undefined,
    sink: Sink,
    options: GetOptions,
  ): Promise<boolean> {
    // From Orthanc 1.12.8 on, a whole read is a range that begins at 0. Only the answer tells.
    const mayBeWhole = (range?.start ?? 0) === 0 && options.requireChecksum !== true;
    const id = `${range?.end ?? ''}${range?.mayEndEarly === true ? '?' : ''} ${key}`;
    const flight = mayBeWhole ? this.#flights.get(id) : undefined;
    const other = flight?.fill.isCancelled === false ? flight : undefined;
    if (other !== undefined) {
      other.readers += 1;
      try {
        const outcome = await untilAborted(other.outcome, options.signal);
        if (outcome === 'file') return false;
        if (outcome !== 'nothing') {
          sink.begin(outcome.memory.length, outcome.memory.length);
          sink.write(0, outcome.memory);
          return true;
        }
      } finally {
        other.readers -= 1;
      }
      // Each for itself: the other one failed, or read a part.
    }
    const mayFill = mayBeWhole && other === undefined && this.#kept.size < KEPT_MAX;
    const fill = mayFill ? this.#states.beginFill(key) : undefined;
    this.#reading += 1;
    try {
      if (fill === undefined) await this.#bucket.get(key, range, sink, options);
      else await this.#lead(fill, id, range, sink, options);
    } finally {
      this.#reading -= 1;
    }
    return true;
  }

  async #lead(
    fill: Fill,
    id: string,
    range: ByteRange | undefined,
    sink: Sink,
    options: GetOptions,
  ): Promise<void> {
    let settle: (outcome: Outcome) => void = () => undefined;
    const flight: Flight = {
      fill,
      outcome: new Promise((resolve) => {
        settle = resolve;
      }),
      readers: 0,
    };
    this.#flights.set(id, flight);
    const end = () => {
      settle('nothing');
      this.#states.endFill(fill);
      if (this.#flights.get(id) === flight) this.#flights.delete(id);
    };
    const copy = new FillSink(sink, this.#disk, {
      mayKeep: (sizeBytes) => this.#states.mayKeep(sizeBytes),
      onPart: () => {
        settle('nothing');
      },
    });
    try {
      await this.#bucket.get(fill.key, range, copy, options);
    } catch (error) {
      end();
      void copy.giveUp();
      throw error;
    }
    // The caller need not wait for the disk.
    const kept = this.#keep(copy, flight, settle).finally(() => {
      this.#kept.delete(kept);
      end();
      // Now nobody joins any more. Of those who have, each copies it by itself.
      if (flight.readers === 0 && copy.memory !== undefined)
        this.#disk.buffers.giveBack(copy.memory);
    });
    this.#kept.add(kept);
  }

  async #keep(copy: FillSink, flight: Flight, settle: (outcome: Outcome) => void): Promise<void> {
    const { fill } = flight;
    const { key } = fill;
    const { memory, receiving, sizeBytes } = copy;
    if (memory !== undefined) {
      const content = memory.subarray(0, sizeBytes);
      settle({ memory: content });
      await this.#writing.run(NEVER, () =>
        this.#states.commitFill(fill, sizeBytes, (path) =>
          this.#disk.write({ path, key }, viewOf(content), { isDurable: false, signal: NEVER }),
        ),
      );
      return;
    }
    if (receiving === undefined) return;
    const isHere = await this.#states.commitFill(fill, sizeBytes, (path) =>
      receiving.finish({ path, key, sizeBytes }),
    );
    if (isHere) settle('file');
    else await receiving.giveUp();
  }
}

const NEVER = new Cancellation();

interface FillOptions {
  readonly mayKeep: (sizeBytes: number) => boolean;
  /** The bytes are not the whole object, or cannot be kept. */
  readonly onPart: () => void;
}

/** Passes the bytes on, and keeps a copy if they are the whole object. */
class FillSink implements Sink {
  readonly anyOrder: boolean;
  sizeBytes = 0;
  memory: Buffer | undefined;
  receiving: Receiving | undefined;
  readonly #sink: Sink;
  readonly #disk: Disk;
  readonly #options: FillOptions;
  #isKept = false;

  constructor(sink: Sink, disk: Disk, options: FillOptions) {
    this.#sink = sink;
    this.#disk = disk;
    this.#options = options;
    this.anyOrder = sink.anyOrder === true;
  }

  begin(sizeBytes: number, totalBytes: number): void {
    this.#sink.begin(sizeBytes, totalBytes);
    // A new attempt gives the same bytes, or those of a new version.
    if (this.#isKept && sizeBytes !== this.sizeBytes) this.#stop();
    this.sizeBytes = sizeBytes;
    if (sizeBytes !== totalBytes || !this.#options.mayKeep(sizeBytes)) {
      this.#stop();
      return;
    }
    this.#isKept = true;
    if (sizeBytes <= ONE_PIECE_BYTES) this.memory ??= this.#disk.buffers.take();
    else this.receiving ??= this.#disk.receive('cached');
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#sink.write(offset, bytes);
    this.memory?.set(bytes, offset);
    if (this.receiving?.write(offset, bytes) === false) this.#stop();
  }

  async giveUp(): Promise<void> {
    // The memory is left to the garbage collector: someone may still read it.
    this.memory = undefined;
    const { receiving } = this;
    this.receiving = undefined;
    await receiving?.giveUp();
  }

  #stop(): void {
    this.#isKept = false;
    void this.giveUp();
    this.#options.onPart();
  }
}

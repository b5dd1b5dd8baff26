// SPDX-License-Identifier: GPL-3.0-or-later
// Holds ten million uuids in a few hundred megabytes. A Map of strings would take ten times as much.

export interface UuidEntry {
  readonly uuid: string;
  readonly sizeBytes: number;
  /** A number of the caller's, from 0 to 63. */
  readonly tag: number;
}

/** The first byte of a uuid chooses the segment. Segments grow one by one, so growing never doubles the memory. */
const SEGMENTS = 256;
const FIRST_CAPACITY = 16;
const LOAD_MAX = 0.88;
/** Small steps keep the table nearly full. */
const GROWTH = 1.12;
const WORDS = 4;
/** In `states`; the tag is above them. */
const USED = 1;
const MARKED = 2;
const TAG_SHIFT = 2;
const TAG_MAX = 63;

interface Segment {
  capacity: number;
  count: number;
  words: Uint32Array;
  /** 48 bits are enough for any object, and two bytes less than a JavaScript number. */
  sizesLow: Uint32Array;
  sizesHigh: Uint16Array;
  states: Uint8Array;
  /** Undefined until the first MD5 is set. All zeros mean none. */
  md5s: Uint32Array | undefined;
}

export class UuidTable {
  readonly #segments = Array.from({ length: SEGMENTS }, () => createSegment(FIRST_CAPACITY));
  /** The uuid of the current search. */
  readonly #wanted = new Uint32Array(WORDS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Replaces an existing entry. @param uuid in lower or upper case */
  set(uuid: string, sizeBytes = 0, tag = 0): void {
    if (tag > TAG_MAX) throw new RangeError('the tag is too large');
    const segment = this.#segmentOf(uuid);
    if ((segment.count + 1) / segment.capacity > LOAD_MAX) grow(segment);
    const slot = slotOf(segment, this.#wanted);
    if (segment.states[slot] === 0) {
      segment.words.set(this.#wanted, slot * WORDS);
      segment.count += 1;
      this.#size += 1;
    }
    segment.states[slot] = USED | (tag << TAG_SHIFT);
    segment.sizesLow[slot] = sizeBytes % 2 ** 32;
    segment.sizesHigh[slot] = Math.floor(sizeBytes / 2 ** 32);
  }

  get(uuid: string): { readonly sizeBytes: number; readonly tag: number } | undefined {
    const { segment, slot } = this.#find(uuid);
    return segment.states[slot] === 0 ? undefined : valueAt(segment, slot);
  }

  /** Ignores a uuid that is not in the table. The first MD5 of a segment adds 16 bytes to each of its entries. */
  setMd5(uuid: string, md5Hex: string): void {
    const { segment, slot } = this.#find(uuid);
    if (segment.states[slot] === 0) return;
    segment.md5s ??= new Uint32Array(segment.capacity * WORDS);
    parseHex(md5Hex, wordsAt(segment.md5s, slot));
  }

  md5Of(uuid: string): string | undefined {
    const { segment, slot } = this.#find(uuid);
    const md5 = segment.md5s && wordsAt(segment.md5s, slot);
    return md5 === undefined || md5.every((word) => word === 0) ? undefined : toHex(md5);
  }

  /** Ignores a uuid that is not in the table. */
  mark(uuid: string): void {
    const { segment, slot } = this.#find(uuid);
    const state = segment.states[slot] ?? 0;
    if (state !== 0) segment.states[slot] = state | MARKED;
  }

  isMarked(uuid: string): boolean {
    const { segment, slot } = this.#find(uuid);
    return ((segment.states[slot] ?? 0) & MARKED) !== 0;
  }

  *unmarked(): Generator<UuidEntry> {
    for (const segment of this.#segments) {
      for (let slot = 0; slot < segment.capacity; slot += 1) {
        if (((segment.states[slot] ?? 0) & (USED | MARKED)) !== USED) continue;
        yield { uuid: format(wordsAt(segment.words, slot)), ...valueAt(segment, slot) };
      }
    }
  }

  #segmentOf(uuid: string): Segment {
    parseHex(uuid.replaceAll('-', ''), this.#wanted);
    const segment = this.#segments[(this.#wanted[0] ?? 0) >>> 24];
    if (segment === undefined) throw new RangeError('no segment');
    return segment;
  }

  #find(uuid: string): { readonly segment: Segment; readonly slot: number } {
    const segment = this.#segmentOf(uuid);
    return { segment, slot: slotOf(segment, this.#wanted) };
  }
}

function wordsAt(words: Uint32Array, slot: number): Uint32Array {
  return words.subarray(slot * WORDS, slot * WORDS + WORDS);
}

function valueAt({ sizesLow, sizesHigh, states }: Segment, slot: number) {
  return {
    sizeBytes: (sizesHigh[slot] ?? 0) * 2 ** 32 + (sizesLow[slot] ?? 0),
    tag: (states[slot] ?? 0) >> TAG_SHIFT,
  };
}

function createSegment(capacity: number): Segment {
  return {
    capacity,
    count: 0,
    words: new Uint32Array(capacity * WORDS),
    sizesLow: new Uint32Array(capacity),
    sizesHigh: new Uint16Array(capacity),
    states: new Uint8Array(capacity),
    md5s: undefined,
  };
}

/** @returns where the uuid is, or would be. Uuids are random, so two of their words are hash enough. */
function slotOf({ capacity, words, states }: Segment, wanted: Uint32Array): number {
  let slot = ((wanted[3] ?? 0) ^ (wanted[1] ?? 0)) >>> 0;
  for (slot %= capacity; states[slot] !== 0; slot = (slot + 1) % capacity) {
    const at = slot * WORDS;
    if (
      words[at] === wanted[0] &&
      words[at + 1] === wanted[1] &&
      words[at + 2] === wanted[2] &&
      words[at + 3] === wanted[3]
    ) {
      break;
    }
  }
  return slot;
}

function grow(segment: Segment): void {
  const next = createSegment(Math.ceil(segment.capacity * GROWTH));
  const { md5s } = segment;
  if (md5s !== undefined) next.md5s = new Uint32Array(next.capacity * WORDS);
  for (let slot = 0; slot < segment.capacity; slot += 1) {
    if (segment.states[slot] === 0) continue;
    const words = wordsAt(segment.words, slot);
    const target = slotOf(next, words);
    next.words.set(words, target * WORDS);
    next.sizesLow[target] = segment.sizesLow[slot] ?? 0;
    next.sizesHigh[target] = segment.sizesHigh[slot] ?? 0;
    next.states[target] = segment.states[slot] ?? 0;
    if (md5s === undefined) continue;
    next.md5s?.set(wordsAt(md5s, slot), target * WORDS);
  }
  Object.assign(segment, next, { count: segment.count });
}

function parseHex(hex: string, words: Uint32Array): void {
  for (let word = 0; word < WORDS; word += 1) {
    words[word] = Number.parseInt(hex.slice(word * 8, word * 8 + 8), 16);
  }
}

function toHex(words: Uint32Array): string {
  return Array.from(words, (word) => word.toString(16).padStart(8, '0')).join('');
}

function format(words: Uint32Array): string {
  return toHex(words).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Checksums that Node has no native code for, eight bytes at a time by tables ("slicing by 8", Kounavis and Berry 2005). S3 keeps a
// CRC64NVME for whatever was uploaded without a checksum, so that objects of other programs can be verified.

/** Continues a checksum; the first state is `initial`. */
export interface SlicedCrc<State> {
  readonly initial: State;
  update(state: State, bytes: Uint8Array): State;
  /** As S3's headers carry it: base64, big-endian. */
  encode(state: State): string;
  /** Takes so many bytes of which only the CRC32 is known. */
  append?(state: State, crc32: number, sizeBytes: number): State;
}

/** CRC32C, Castagnoli's polynomial, reflected. @see RFC 3720, B.4 */
const CASTAGNOLI = 0x82f63b78;
/** CRC64 of NVM Express 1.0 and later, reflected, its upper and lower half. @see NVM Command Set Specification, 5.2.1.3.4 */
const NVME_HIGH = 0x9a6c9329;
const NVME_LOW = 0xac4bc9b5;

const SLICES = 8;
const TABLE_SIZE = 256;

export function createCrc32c(): SlicedCrc<number> {
  const table = new Uint32Array(SLICES * TABLE_SIZE);
  for (let index = 0; index < TABLE_SIZE; index++) {
    let value = index;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ CASTAGNOLI : value >>> 1;
    table[index] = value;
  }
  for (let index = TABLE_SIZE; index < table.length; index++) {
    const before = table[index - TABLE_SIZE] ?? 0;
    table[index] = (table[before & 0xff] ?? 0) ^ (before >>> 8);
  }
  const lookUp = (slice: number, byte: number) => table[slice * TABLE_SIZE + byte] as number;
  return {
    initial: 0xffffffff,
    update(state, bytes) {
      let crc = state;
      let offset = 0;
      const at = (index: number) => bytes[offset + index] as number;
      for (; offset + 8 <= bytes.length; offset += 8) {
        crc =
          lookUp(7, (crc ^ at(0)) & 0xff) ^
          lookUp(6, ((crc >>> 8) ^ at(1)) & 0xff) ^
          lookUp(5, ((crc >>> 16) ^ at(2)) & 0xff) ^
          lookUp(4, (crc >>> 24) ^ at(3)) ^
          lookUp(3, at(4)) ^
          lookUp(2, at(5)) ^
          lookUp(1, at(6)) ^
          lookUp(0, at(7));
      }
      for (; offset < bytes.length; offset++) crc = lookUp(0, (crc ^ at(0)) & 0xff) ^ (crc >>> 8);
      return crc;
    },
    encode(state) {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(~state >>> 0);
      return bytes.toString('base64');
    },
  };
}

export interface Crc64State {
  readonly high: number;
  readonly low: number;
}

export function createCrc64Nvme(): SlicedCrc<Crc64State> {
  // Upper and lower halves in tables of their own: a number of JavaScript holds 53 bits, and BigInt is twenty times slower.
  const highs = new Int32Array(SLICES * TABLE_SIZE);
  const lows = new Int32Array(SLICES * TABLE_SIZE);
  for (let index = 0; index < TABLE_SIZE; index++) {
    let high = 0;
    let low = index;
    for (let bit = 0; bit < 8; bit++) {
      const isOdd = (low & 1) === 1;
      low = (low >>> 1) | (high << 31);
      high >>>= 1;
      if (isOdd) {
        high ^= NVME_HIGH;
        low ^= NVME_LOW;
      }
    }
    highs[index] = high;
    lows[index] = low;
  }
  for (let index = TABLE_SIZE; index < highs.length; index++) {
    const high = highs[index - TABLE_SIZE] ?? 0;
    const low = lows[index - TABLE_SIZE] ?? 0;
    highs[index] = (highs[low & 0xff] ?? 0) ^ (high >>> 8);
    lows[index] = (lows[low & 0xff] ?? 0) ^ ((low >>> 8) | (high << 24));
  }
  const lookUp = (table: Int32Array, slice: number, byte: number) =>
    table[slice * TABLE_SIZE + byte] as number;
  return {
    initial: { high: -1, low: -1 },
    update(state, bytes) {
      let { high, low } = state;
      let offset = 0;
      for (; offset + 8 <= bytes.length; offset += 8) {
        const b0 = (low ^ (bytes[offset] as number)) & 0xff;
        const b1 = ((low >>> 8) ^ (bytes[offset + 1] as number)) & 0xff;
        const b2 = ((low >>> 16) ^ (bytes[offset + 2] as number)) & 0xff;
        const b3 = (low >>> 24) ^ (bytes[offset + 3] as number);
        const b4 = (high ^ (bytes[offset + 4] as number)) & 0xff;
        const b5 = ((high >>> 8) ^ (bytes[offset + 5] as number)) & 0xff;
        const b6 = ((high >>> 16) ^ (bytes[offset + 6] as number)) & 0xff;
        const b7 = (high >>> 24) ^ (bytes[offset + 7] as number);
        high =
          lookUp(highs, 7, b0) ^
          lookUp(highs, 6, b1) ^
          lookUp(highs, 5, b2) ^
          lookUp(highs, 4, b3) ^
          lookUp(highs, 3, b4) ^
          lookUp(highs, 2, b5) ^
          lookUp(highs, 1, b6) ^
          lookUp(highs, 0, b7);
        low =
          lookUp(lows, 7, b0) ^
          lookUp(lows, 6, b1) ^
          lookUp(lows, 5, b2) ^
          lookUp(lows, 4, b3) ^
          lookUp(lows, 3, b4) ^
          lookUp(lows, 2, b5) ^
          lookUp(lows, 1, b6) ^
          lookUp(lows, 0, b7);
      }
      for (; offset < bytes.length; offset++) {
        const index = (low ^ (bytes[offset] as number)) & 0xff;
        low = lookUp(lows, 0, index) ^ ((low >>> 8) | (high << 24));
        high = lookUp(highs, 0, index) ^ (high >>> 8);
      }
      return { high, low };
    },
    encode({ high, low }) {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt32BE(~high >>> 0, 0);
      bytes.writeUInt32BE(~low >>> 0, 4);
      return bytes.toString('base64');
    },
  };
}

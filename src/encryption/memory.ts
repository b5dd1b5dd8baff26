// SPDX-License-Identifier: GPL-3.0-or-later

/** Pieces of memory that are used again. What an operation allocated itself would be garbage, by which V8 counts when to collect. */
export class Memory {
  readonly #pieceBytes: number;
  readonly #spare: Uint8Array[] = [];

  constructor(pieceBytes: number) {
    this.#pieceBytes = pieceBytes;
  }

  /** @returns a piece with anything in it */
  take(): Uint8Array {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#pieceBytes);
  }

  /** @param piece that nobody uses any more */
  giveBack(piece: Uint8Array): void {
    if (this.#spare.length < MAX_SPARE) this.#spare.push(piece);
  }
}

/** More operations at once than usual allocate again. */
const MAX_SPARE = 8;

// SPDX-License-Identifier: GPL-3.0-or-later

/** Pieces of memory that are used again. What an operation allocated itself would be garbage, by which V8 counts when to collect. */
export class Memory {
  readonly #pieceBytes: number;
  readonly #maxSpare: number;
  #spare: Buffer[] = [];

  /** @param maxSpare pieces that are kept while nobody uses them. More operations at once than usual allocate again */
  constructor(pieceBytes: number, maxSpare = 8) {
    this.#pieceBytes = pieceBytes;
    this.#maxSpare = maxSpare;
  }

  /** @returns a piece with anything in it */
  take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#pieceBytes);
  }

  /** @param piece that nobody uses any more */
  giveBack(piece: Buffer): void {
    if (this.#spare.length < this.#maxSpare) this.#spare.push(piece);
  }

  /** Keeps nothing any more, until pieces are given back again. */
  free(): void {
    this.#spare = [];
  }
}

// SPDX-License-Identifier: GPL-3.0-or-later

/** A request of a small file leaves in one write. Larger buffers bring nothing. */
export const SEND_BYTES = 256 * 1024;

/** Buffers that contents are sent from. There are as many as connections that send at one time. */
export class SendBuffers {
  #spare: Buffer[] = [];

  take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(SEND_BYTES);
  }

  giveBack(buffer: Buffer): void {
    this.#spare.push(buffer);
  }

  /** Nothing is being sent, and may not be for a while. */
  free(): void {
    this.#spare = [];
  }
}

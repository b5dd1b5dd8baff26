// SPDX-License-Identifier: GPL-3.0-or-later

import { untilAborted } from '../store/abort.ts';
import type { OperationOptions } from '../store/object-store.ts';

export interface OngoingMove {
  /** True once a removal of the attachment has begun, before or during the move. */
  wasRemoved(): boolean;
  end(): void;
}

/** Moves and removals in progress. Without it, a move and a removal of one attachment could leave a copy behind. */
export class Moves {
  readonly #ongoing = new Map<string, { removed: boolean; readonly over: Promise<void> }>();
  readonly #removals = new Map<string, number>();

  async begin(uuid: string, { signal }: OperationOptions): Promise<OngoingMove> {
    for (
      let other = this.#ongoing.get(uuid);
      other !== undefined;
      other = this.#ongoing.get(uuid)
    ) {
      await untilAborted(other.over, signal);
    }
    let resolveOver = () => {};
    const over = new Promise<void>((resolve) => {
      resolveOver = resolve;
    });
    const state = { removed: this.#removals.has(uuid), over };
    this.#ongoing.set(uuid, state);
    return {
      wasRemoved: () => state.removed,
      end: () => {
        this.#ongoing.delete(uuid);
        resolveOver();
      },
    };
  }

  /** @returns a function to call when the removal has ended */
  beginRemoval(uuid: string): () => void {
    const state = this.#ongoing.get(uuid);
    if (state !== undefined) state.removed = true;
    this.#removals.set(uuid, (this.#removals.get(uuid) ?? 0) + 1);
    return () => {
      const left = (this.#removals.get(uuid) ?? 0) - 1;
      if (left > 0) this.#removals.set(uuid, left);
      else this.#removals.delete(uuid);
    };
  }
}

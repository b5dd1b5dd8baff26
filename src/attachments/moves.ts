// SPDX-License-Identifier: GPL-3.0-or-later

import { untilAborted } from '../store/abort.ts';
import type { OperationOptions } from '../store/object-store.ts';

export interface OngoingMove {
  /** Whether a removal began since, or was under way when the move began. */
  wasRemoved(): boolean;
  end(): void;
}

/** The moves and removals that are under way, so that a move and a removal of the same attachment leave no copy behind. */
export class Moves {
  readonly #ongoing = new Map<string, { removed: boolean; readonly over: Promise<void> }>();
  /** How many removals of each are under way. */
  readonly #removals = new Map<string, number>();

  /** Waits for another move of the same attachment. */
  async begin(uuid: string, { signal }: OperationOptions): Promise<OngoingMove> {
    for (
      let other = this.#ongoing.get(uuid);
      other !== undefined;
      other = this.#ongoing.get(uuid)
    ) {
      await untilAborted(other.over, signal);
    }
    let tellOver = () => {};
    const over = new Promise<void>((resolve) => {
      tellOver = resolve;
    });
    const state = { removed: this.#removals.has(uuid), over };
    this.#ongoing.set(uuid, state);
    return {
      wasRemoved: () => state.removed,
      end: () => {
        this.#ongoing.delete(uuid);
        tellOver();
      },
    };
  }

  /** @returns to be called when the removal is over */
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

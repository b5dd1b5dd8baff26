// SPDX-License-Identifier: GPL-3.0-or-later

import { untilAborted } from '../store/abort.ts';
import type { OperationOptions } from '../store/object-store.ts';

/** The moves and removals that are under way, so that a move and a removal of the same attachment leave no copy behind. */
export interface Moves {
  /** Waits for another move of the same attachment. */
  begin(uuid: string, options: OperationOptions): Promise<OngoingMove>;
  /** @returns to be called when the removal is over */
  beginRemoval(uuid: string): () => void;
}

export interface OngoingMove {
  /** Whether a removal began since, or was under way when the move began. */
  wasRemoved(): boolean;
  end(): void;
}

export function createMoves(): Moves {
  const ongoing = new Map<string, { removed: boolean; readonly over: Promise<void> }>();
  /** How many removals of each are under way. */
  const removals = new Map<string, number>();
  return {
    async begin(uuid, { signal }) {
      for (let other = ongoing.get(uuid); other !== undefined; other = ongoing.get(uuid)) {
        await untilAborted(other.over, signal);
      }
      let tellOver = () => {};
      const over = new Promise<void>((resolve) => {
        tellOver = resolve;
      });
      const state = { removed: removals.has(uuid), over };
      ongoing.set(uuid, state);
      return {
        wasRemoved: () => state.removed,
        end: () => {
          ongoing.delete(uuid);
          tellOver();
        },
      };
    },
    beginRemoval(uuid) {
      const state = ongoing.get(uuid);
      if (state !== undefined) state.removed = true;
      removals.set(uuid, (removals.get(uuid) ?? 0) + 1);
      return () => {
        const left = (removals.get(uuid) ?? 0) - 1;
        if (left > 0) removals.set(uuid, left);
        else removals.delete(uuid);
      };
    },
  };
}

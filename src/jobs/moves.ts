// SPDX-License-Identifier: GPL-3.0-or-later

/** Which attachments are on their way from one store to the other, so that whoever removes one meanwhile leaves no copy behind. */
export interface Moves {
  /** @returns undefined where another move has it in hand */
  begin(uuid: string): OngoingMove | undefined;
  /** To be told before anything is removed. */
  noteRemoval(uuid: string): void;
}

export interface OngoingMove {
  /** Whether a removal began since. */
  wasRemoved(): boolean;
  end(): void;
}

export function createMoves(): Moves {
  const ongoing = new Map<string, { removed: boolean }>();
  return {
    begin(uuid) {
      if (ongoing.has(uuid)) return undefined;
      const state = { removed: false };
      ongoing.set(uuid, state);
      return {
        wasRemoved: () => state.removed,
        end: () => {
          ongoing.delete(uuid);
        },
      };
    },
    noteRemoval(uuid) {
      const state = ongoing.get(uuid);
      if (state !== undefined) state.removed = true;
    },
  };
}

// SPDX-License-Identifier: GPL-3.0-or-later

import type { Attachment, AttachmentStore } from '../attachments/attachments.ts';
import { toStorageError } from '../errors.ts';
import type { MoveTarget } from './move-progress.ts';

/** Throws BAD_CONFIG where both stores are one place, in which a move would remove what it has just copied.
 *  @param options `patienceMs`: how long the answer may take; the longer, the surer */
export type RequireTwoPlaces = (options: {
  readonly signal: AbortSignal;
  readonly patienceMs: number;
}) => Promise<void>;

/** Mounts with a cache show in the bucket later what was written to them: rclone's after 5 s, gateways after some more. */
const PATIENCE_MS = 30_000;

/** To be asked before an attachment is copied. One answer holds for all attachments of a job; a patient one is waited for only where an
 *  attachment is seen on both sides: left so by a move that was interrupted, or one file that is seen twice. */
export function createPlaceGuard(
  stores: Readonly<Record<MoveTarget, AttachmentStore>>,
  requireTwoPlaces: RequireTwoPlaces,
  signal: AbortSignal,
): (attachment: Attachment) => Promise<void> {
  const askQuickly = once(() => requireTwoPlaces({ signal, patienceMs: 0 }));
  const askPatiently = once(() => requireTwoPlaces({ signal, patienceMs: PATIENCE_MS }));

  async function isOnBothSides(attachment: Attachment): Promise<boolean> {
    for (const side of ['file-system', 'object-storage'] as const) {
      if ((await stores[side].find(attachment, { signal })) === undefined) return false;
    }
    return true;
  }

  return async (attachment) => {
    await askQuickly();
    if (await isOnBothSides(attachment)) await askPatiently();
  };
}

/** A question that is asked again only where it found no answer. */
function once(ask: () => Promise<void>): () => Promise<void> {
  let asked: Promise<void> | undefined;
  async function remember(): Promise<void> {
    try {
      await ask();
    } catch (error) {
      if (toStorageError(error).code !== 'BAD_CONFIG') asked = undefined;
      throw error;
    }
  }
  return () => {
    asked ??= remember();
    return asked;
  };
}

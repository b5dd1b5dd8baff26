// SPDX-License-Identifier: GPL-3.0-or-later
// Sends large contents in parts, several at once. No part is held in memory as a whole.

import { window } from '../http/content.ts';
import { Cancellation, type Signal } from '../store/abort.ts';
import type { Body } from '../store/object-store.ts';

const MIB = 1024 * 1024;

export interface PartPlan {
  readonly partBytes: number;
  readonly count: number;
}

/** @returns parts of equal size, except the last */
export function planParts(
  sizeBytes: number,
  wantedPartBytes: number,
  limits: { readonly minPartBytes: number; readonly maxParts: number },
): PartPlan {
  const smallest = Math.ceil(sizeBytes / limits.maxParts / MIB) * MIB;
  const partBytes = Math.max(limits.minPartBytes, wantedPartBytes, smallest);
  return { partBytes, count: Math.max(1, Math.ceil(sizeBytes / partBytes)) };
}

/** Sends each part of the body; the first failure stops all others.
 *  @returns what `send` gave for each part, in their order */
export async function sendParts<Sent>(
  body: Body,
  { partBytes, count }: PartPlan,
  poolSize: number,
  signal: Signal,
  send: (index: number, content: Body, signal: Signal) => Promise<Sent>,
): Promise<readonly Sent[]> {
  const link = new Cancellation(signal);
  const sent: Sent[] = [];
  let next = 0;
  const worker = async () => {
    while (next < count) {
      const index = next++;
      const start = index * partBytes;
      const content = window(body, start, Math.min(start + partBytes, body.sizeBytes));
      sent[index] = await send(index, content, link);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(poolSize, count) }, worker));
    return sent;
  } finally {
    link.release();
    link.abort();
  }
}

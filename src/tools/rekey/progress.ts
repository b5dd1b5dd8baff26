// SPDX-License-Identifier: GPL-3.0-or-later

import { folderOf } from '../../attachments/naming.ts';
import { formatBar, type ProgressLine } from '../common/output.ts';
import type { Side } from '../common/sides.ts';
import type { RekeyedObject } from './rekey.ts';
import type { RekeyState } from './state.ts';

/** Lists the bucket first if a terminal shows the progress, or if the run resumes an earlier one. That counts the objects, and tells
 *  whether the server lists in order; otherwise no object can be skipped. A listing costs one request for a thousand objects.
 *  @returns shows the progress; call it for each object */
export async function startRekeyProgress(
  line: ProgressLine,
  { store, naming }: Pick<Side, 'store' | 'naming'>,
  state: RekeyState,
  signal: AbortSignal,
): Promise<(object: RekeyedObject) => void> {
  let total = 0;
  if (line.isShown || state.progress().doneUpTo !== undefined) {
    const isDone = state.beginListing();
    for await (const { key } of store.list(folderOf(naming), { signal })) {
      if (!isDone(key)) total += 1;
    }
  }
  const startedMs = performance.now();
  let count = 0;
  let bytes = 0;
  return ({ outcome, sizeBytes }) => {
    count += 1;
    if (outcome === 'rekeyed') bytes += sizeBytes;
    line.show(() =>
      describeRekeyProgress({ count, total, bytes }, (performance.now() - startedMs) / 1000),
    );
  };
}

/** @param done `bytes` that were encrypted anew, `count` of objects that were looked at */
export function describeRekeyProgress(
  done: { readonly count: number; readonly total: number; readonly bytes: number },
  seconds: number,
): string {
  const { count, total, bytes } = done;
  const rate = seconds === 0 ? 0 : bytes / 1e6 / seconds;
  const left = count === 0 ? 0 : (seconds / count) * Math.max(0, total - count);
  return `${formatBar(total === 0 ? 1 : count / total)}${count} of ${total}, ${rate.toFixed(1)} MB/s, ${formatSeconds(left)} left`;
}

function formatSeconds(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.ceil(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// SPDX-License-Identifier: GPL-3.0-or-later

/** After a defect of ours, which the browser's console shows. */
const DEFECT_MS = 5_000;

/** Asks again and again, but not while nobody sees the page.
 *  @param work returns when to ask next, in milliseconds
 *  @param page tells whether somebody sees it, and when that changes
 *  @returns asks at once; if an answer is under way, which may be too old, then again after it */
export function poll(
  work: () => Promise<number>,
  page: { isVisible(): boolean; onChange(listener: () => void): void },
): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isAsking = false;
  let isAgain = false;
  async function run(): Promise<void> {
    clearTimeout(timer);
    isAgain = isAsking;
    if (isAsking) return;
    isAsking = true;
    let waitMs = DEFECT_MS;
    try {
      waitMs = await work();
    } finally {
      isAsking = false;
      if (isAgain) void run();
      else if (page.isVisible()) timer = setTimeout(() => void run(), waitMs);
    }
  }
  page.onChange(() => {
    if (page.isVisible()) void run();
    else clearTimeout(timer);
  });
  void run();
  return () => void run();
}

// SPDX-License-Identifier: GPL-3.0-or-later
// A browser that opens the page of a real Orthanc.

import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { ensureBrowser } from '../../scripts/lib/browser.mjs';

export type { Browser, Page } from 'playwright-core';

export const PAGE_PATH = '/object-storage/app/';

export async function startBrowser(): Promise<Browser> {
  return await chromium.launch({
    executablePath: await ensureBrowser(),
    // Root has no other choice, and only our own page is opened.
    args: ['--no-sandbox'],
  });
}

export interface OpenedPage {
  readonly page: Page;
  /** What the page says in the browser's console, errors of scripts and refusals by its Content-Security-Policy among it. */
  readonly complaints: readonly string[];
  /** The addresses that it has asked for. */
  readonly asked: readonly string[];
}

/** @param address of Orthanc, or of a proxy with its prefix */
export async function openPage(
  browser: Browser,
  address: string,
  options: BrowserContextOptions & { readonly hash?: string; readonly path?: string } = {},
): Promise<OpenedPage> {
  const { hash = '', path = PAGE_PATH, ...others } = options;
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...others });
  const page = await context.newPage();
  const complaints: string[] = [];
  const asked: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => {
    complaints.push(String(error));
  });
  page.on('request', (request) => {
    asked.push(request.url());
  });
  await page.goto(`${address}${path}${hash}`);
  return { page, complaints, asked };
}

const PATIENCE_MS = 10_000;

/** Waits for it in the first element of the selector. Also without vitest.
 *  @throws with what is there in its place */
export async function expectText(page: Page, selector: string, text: RegExp): Promise<void> {
  const first = page.locator(selector).first();
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = (await first.textContent({ timeout: PATIENCE_MS })) ?? '';
    if (text.test(found)) return;
    if (performance.now() > deadline) {
      throw new Error(`${selector} has no ${text}, but: ${found}`);
    }
    await page.waitForTimeout(50);
  }
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Pictures of the page: all is well, light and narrow; and the store away, dark.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDicom } from '../support/dicom.ts';
import { expectText, openPage, type Page, startBrowser } from './browser.ts';
import { createShowcase } from './showcase.ts';

const WIDE = { viewport: { width: 1280, height: 1040 }, deviceScaleFactor: 1 };
const NARROW = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 1 };

export async function main(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const showcase = await createShowcase();
  const { world, orthanc } = showcase;
  const browser = await startBrowser();
  const take = async (page: Page, name: string, fullPage: boolean) => {
    await page.locator('.canvas canvas').first().waitFor();
    await page.evaluate('document.activeElement?.blur()');
    await page.screenshot({ path: join(folder, `${name}.png`), fullPage });
    await page.context().close();
    process.stdout.write(`${join(folder, name)}.png\n`);
  };
  try {
    await showcase.work();
    const light = await openPage(browser, orthanc.url, { ...WIDE, colorScheme: 'light' });
    await light.page.getByRole('searchbox').fill('Doe');
    await light.page.keyboard.press('Enter');
    await light.page.locator('#located .buttons button').first().click();
    await light.page.locator('dialog').getByRole('button', { name: 'Move', exact: true }).click();
    await expectText(light.page, '#moves .badge', /^done$/);
    await expectText(light.page, '#located li', /Orthanc's folder/);
    await take(light.page, 'page-light', true);

    const narrow = await openPage(browser, orthanc.url, { ...NARROW, colorScheme: 'light' });
    await expectText(narrow.page, '#sentence', /^All is well/);
    await take(narrow.page, 'page-narrow', false);

    world.proxy.setFault(() => ({ kind: 'answer', status: 403 }));
    await orthanc.upload(
      makeDicom({ sopInstanceUid: '1.2.826.0.2', patientName: 'Roe^Richard', pixelBytes: 90_000 }),
    );
    const ids = (await orthanc.json('/instances')) as readonly string[];
    await Promise.all(ids.map((id) => orthanc.request('GET', `/instances/${id}/file`)));
    const dark = await openPage(browser, orthanc.url, { ...WIDE, colorScheme: 'dark' });
    await expectText(dark.page, '#sentence', /failed in the last five minutes/);
    await expectText(dark.page, '#errors', /ACCESS_DENIED/);
    await take(dark.page, 'page-dark', false);
    world.proxy.setFault(undefined);
  } finally {
    await browser.close();
    await showcase.close();
  }
}

// SPDX-License-Identifier: GPL-3.0-or-later
// The page in a browser, over a real Orthanc whose files are on its disk and in a bucket.

import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { makeDicom } from '../support/dicom.ts';
import type { Orthanc, Upload } from '../support/orthanc.ts';
import { bundle, createWorld, type World } from '../support/world.ts';
import {
  type Browser,
  expectText,
  openPage,
  PAGE_PATH,
  type Page,
  startBrowser,
} from './browser.ts';
import { type PrefixProxy, startPrefixProxy } from './prefix-proxy.ts';
import { writeTimeLapse } from './time-lapse.ts';

/** Would be noticed as an element, if it ever became one. */
const MARKUP = '<img src=x onerror=document.title="hacked">';
const FILES = 12;
const MAX_BYTES = 100_000;
/** A sample every second. */
const LAPSE_MS = 240_000;

let world: World;
let browser: Browser;
let orthanc: Orthanc;
/** Asks for a password, and compresses. */
let guarded: Orthanc;
let upload: Upload;

beforeAll(async () => {
  [world, browser] = await Promise.all([createWorld(), startBrowser()]);
  const storage = join(world.folder, 'storage');
  await mkdir(storage);
  const lapse = join(world.folder, 'lapse.cjs');
  await writeTimeLapse(lapse, bundle, LAPSE_MS);
  [orthanc, guarded] = await Promise.all([
    world.start('page', {
      environment: { ORTHANC_OBJECT_STORAGE_BUNDLE: lapse },
      configuration: {
        StorageDirectory: storage,
        MaximumStorageCacheSize: 0,
        ...world.configure({ HybridMode: 'WriteToFileSystem', MaxRetries: 1 }),
      },
    }),
    world.start('guarded', {
      environment: { ORTHANC_OBJECT_STORAGE_BUNDLE: lapse },
      configuration: {
        ...world.configure({ Lanes: 2 }),
        AuthenticationEnabled: true,
        RegisteredUsers: { alice: 'wonderland' },
        HttpCompressionEnabled: true,
      },
    }),
  ]);
  for (let index = 0; index < FILES; index += 1) {
    upload = await orthanc.upload(
      makeDicom({
        sopInstanceUid: `1.2.3.${index}`,
        patientId: 'P-1',
        patientName: MARKUP,
        pixelBytes: 2000,
      }),
    );
  }
});

afterAll(async () => {
  await browser.close();
  await world.close();
});

const open = (options: Parameters<typeof openPage>[2] = {}) =>
  openPage(browser, orthanc.url, options);

/** @param rules all, or those of one kind */
async function findViolations(page: Page, rules = '{}'): Promise<readonly string[]> {
  const path = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
  await page.evaluate(await readFile(path, 'utf8'));
  const results = (await page.evaluate(`axe.run(${rules})`)) as {
    readonly violations: readonly {
      readonly id: string;
      readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
    }[];
  };
  return results.violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`),
  );
}

/** All that the page can show, with the study's files. */
async function showAll(page: Page): Promise<void> {
  await page.getByRole('searchbox').fill('P-1');
  await page.keyboard.press('Enter');
  await page.locator('#located table').waitFor();
}

test('it is small, asks nobody else, and comes from the cache when it is the same', async () => {
  const { page, asked, complaints } = await open();
  await expectText(page, '#sentence', /^All is well: new files go to the folder .*storage/);
  await page.locator('.canvas canvas').first().waitFor();
  expect(
    asked.filter((url) => !url.startsWith(`${orthanc.url}/`) && !url.startsWith('data:')),
  ).toEqual([]);
  expect(complaints).toEqual([]);

  let bytes = 0;
  for (const name of ['', 'page.js', 'page.css']) {
    const answer = await orthanc.request('GET', `${PAGE_PATH}${name}`);
    bytes += answer.body.length;
    const tag = answer.headers.get('etag') ?? '';
    const again = await orthanc.request('GET', `${PAGE_PATH}${name}`, undefined, {
      'if-none-match': tag,
    });
    expect(again.status).toBe(304);
    expect(again.body).toHaveLength(0);
    expect(again.headers.get('content-security-policy')).toContain("default-src 'none'");
  }
  const paintMs = await page.evaluate(
    "performance.getEntriesByName('first-contentful-paint')[0]?.startTime",
  );
  process.stdout.write(
    `The page has ${bytes} bytes, its first paint came after ${Math.round(Number(paintMs))} ms\n`,
  );
  expect(bytes).toBeLessThan(MAX_BYTES);
  const status = await orthanc.request('GET', '/object-storage/status');
  expect(status.headers.get('cache-control')).toBe('no-store');
  await page.context().close();
});

test('the hour survives a reload, and the keyboard moves through it', async () => {
  const { page } = await open();
  /** When the oldest sample was taken. */
  const goBack = async () => {
    await page.locator('.canvas canvas').first().waitFor();
    await expectText(page, '#when', /^now$/);
    await page.locator('#scrub').focus();
    await page.keyboard.press('Home');
    await expectText(page, '#when', /^at \d\d:\d\d:\d\d$/);
    return await page.locator('#when').textContent();
  };
  const before = await goBack();
  // A new sample is no reason to look elsewhere.
  const answered = page.waitForResponse(/object-storage\/history$/);
  await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
  await answered;
  await page.evaluate('new Promise(requestAnimationFrame)');
  expect(await page.locator('#when').textContent()).toBe(before);
  // Nor is a window of another size.
  await page.setViewportSize({ width: 500, height: 700 });
  await page.evaluate('new Promise(requestAnimationFrame)');
  await page.evaluate('new Promise(requestAnimationFrame)');
  expect(await page.locator('#when').textContent()).toBe(before);
  await page.keyboard.press('End');
  await expectText(page, '#when', /^now$/);
  await page.reload();
  expect(await goBack()).toBe(before);
  await page.context().close();
});

test('a study is found, moved to the bucket, and a move back canceled', async () => {
  const { page, complaints } = await open();
  await showAll(page);
  await expectText(page, '#located li', /^Orthanc's folder: 12 files, [\d.]+ kB, not encrypted/);

  await page.getByRole('button', { name: 'Move to the bucket' }).click();
  await page.locator('dialog').getByRole('button', { name: 'Move', exact: true }).click();
  await expectText(page, '#moves .badge', /^done$/);
  await expectText(page, '#moves .quiet', /^12 files moved/);
  expect(await world.objects()).toHaveLength(FILES);

  // By the keyboard; it lasts until it is canceled.
  world.proxy.setFault(({ method }) => (method === 'GET' ? { kind: 'hang' } : undefined));
  await page.getByRole('button', { name: 'Move to the disk' }).focus();
  await page.keyboard.press('Enter');
  await expectText(page, '#ask-title', /Move to Orthanc's folder\?/);
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'hidden' });
  await page.keyboard.press('Enter');
  await page.locator('dialog').waitFor();
  // Asked again in the same moment: the end of one question is no answer to the next.
  await page.evaluate("document.querySelector('dialog').close(); document.activeElement.click()");
  await page.locator('dialog').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expectText(page, '#moves .badge', /^under way$/);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await expectText(page, '#moves .badge', /^canceled$/);
  world.proxy.setFault(undefined);

  // By its UID; and all of its patient, of whom nothing tells one study.
  const study = await orthanc.json(`/studies/${upload.ParentStudy}`);
  const { StudyInstanceUID } = (study as { MainDicomTags: Record<string, string> }).MainDicomTags;
  await page.getByRole('searchbox').fill(StudyInstanceUID ?? '');
  await page.keyboard.press('Enter');
  await expectText(page, '#located', /^Files of the study.*Bucket \(s3\): \d+ files/);
  await page.getByRole('button', { name: /^Whole patient/ }).click();
  await expectText(page, '#located h3', /^Files of the patient/);
  await page.getByRole('button', { name: 'Move to the disk' }).click();
  await expectText(page, '#ask-text', /^All files of the patient <img.*> are copied/);
  await page.keyboard.press('Escape');
  expect(complaints).toEqual([]);
  await page.context().close();
});

test('what is wrong is said, with what it means, and never as HTML', async () => {
  const move = { Resources: [upload.ParentStudy], TargetStorage: 'object-storage' };
  expect((await orthanc.request('POST', '/move-storage', JSON.stringify(move))).status).toBe(200);
  world.proxy.setFault(() => ({ kind: 'answer', status: 503, body: MARKUP }));
  expect((await orthanc.request('GET', `/instances/${upload.ID}/file`)).status).toBe(500);
  world.proxy.setFault(undefined);
  const { page } = await open({ hash: `#studies/${upload.ParentStudy}` });
  await expectText(page, '#located h3', /<img src=x onerror=/);
  await expectText(page, '#state', /failed in the last five minutes/);
  await expectText(page, '#errors', /^UNAVAILABLE The store cannot be reached/);
  expect(await page.locator('main img').count()).toBe(0);
  expect(await page.title()).toBe('Object storage · Orthanc');
  await page.context().close();
});

test('whatever the index, the bucket or a job says is text', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  // Keys, buckets, folders, reasons and names that no store of a test accepts.
  await page.route(/status$|locate|jobs\?expand|tools\/find|studies\//, async (route) => {
    const answer = await route.fetch();
    const json = JSON.parse(await answer.text(), (key, value: unknown) =>
      typeof value === 'string' && !KEPT.has(key) && !/^[0-9a-f-]{36,44}$/.test(value)
        ? `${value}${MARKUP}`
        : value,
    ) as unknown;
    await route.fulfill({ response: answer, json });
  });
  await page.goto(`${orthanc.url}${PAGE_PATH}`);
  await showAll(page);
  await expectText(page, '#facts', /<img src=x/);
  await expectText(page, '#located .key', /<img src=x/);
  await expectText(page, '#moves', /To another store|To the bucket/);
  expect(await page.locator('main img').count()).toBe(0);
  expect(await page.title()).toBe('Object storage · Orthanc');
  await context.close();
});
/** Without which the page would show less. */
const KEPT = new Set([
  'Type',
  'State',
  'time',
  'code',
  'operation',
  'level',
  'writeTo',
  'provider',
]);

test('axe finds nothing, light, dark and narrow', async () => {
  const { page } = await open({ colorScheme: 'light' });
  await showAll(page);
  await page.locator('#moves .badge').first().waitFor();
  expect(await findViolations(page)).toEqual([]);
  await page.emulateMedia({ colorScheme: 'dark' });
  expect(await findViolations(page, "{ runOnly: 'cat.color' }")).toEqual([]);
  const narrow = { width: 360, height: 740 };
  await page.setViewportSize(narrow);
  expect(await findViolations(page)).toEqual([]);
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(narrow.width);
  await page.context().close();
});

test("Orthanc Explorer leads there, from its start and from a study's page", async () => {
  const { page } = await open({ path: '/app/explorer.html' });
  await page.locator('#object-storage').click();
  await expectText(page, '#sentence', /^All is well|failed/);
  await page.goto(`${orthanc.url}/app/explorer.html#study?uuid=${upload.ParentStudy}`);
  await page.locator('#study-object-storage').click();
  await expectText(page, '#located h3', /^Files of the study/);
  // Orthanc Explorer 2 goes by this.
  expect(await orthanc.json('/plugins/object-storage')).toMatchObject({
    RootUri: '../object-storage/app/',
  });
  await page.context().close();
});

test('behind a reverse proxy with a path, with and without a slash, and when Orthanc asks for a password', async () => {
  const proxy: PrefixProxy = await startPrefixProxy(guarded.url, '/pacs/orthanc');
  try {
    expect((await guarded.request('GET', PAGE_PATH)).status).toBe(401);
    proxy.signInAs('alice:wonderland');
    for (const path of ['/object-storage/app/', '/object-storage/app']) {
      const { page, asked, complaints } = await openPage(browser, proxy.address, { path });
      await expectText(page, '#sentence', /^All is well: new files go to the S3 bucket/);
      expect(
        asked.every((url) => url.startsWith(`${proxy.address}/`) || url.startsWith('data:')),
      ).toBe(true);
      expect(complaints).toEqual([]);
      if (path.endsWith('/')) {
        await page.context().close();
        continue;
      }
      proxy.signInAs('alice:forgotten');
      // As when its tab is looked at again: it asks at once.
      await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
      await expectText(page, '#sentence', /^Orthanc asks for a user and a password/);
      // Neither a proxy's own page to sign in nor a failure is taken for the state of before.
      for (const [answer, sentence] of [
        [{ status: 503, contentType: 'text/plain', body: 'it starts again' }, /^it starts again$/],
        [{ status: 302, headers: { location: '/sign-in' } }, /^Orthanc asks for a user/],
      ] as const) {
        await page.route(/object-storage\/status$/, (route) => route.fulfill(answer));
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
        await expectText(page, '#sentence', sentence);
      }
      await page.context().close();
    }
    // By two event loops, whose hours are one.
    proxy.signInAs('alice:wonderland');
    const stored = Array.from({ length: 4 }, (_, index) =>
      fetch(`${proxy.address}/instances`, {
        method: 'POST',
        body: makeDicom({ sopInstanceUid: `1.2.4.${index}`, pixelBytes: 2000 }),
      }),
    );
    for (const { status } of await Promise.all(stored)) expect(status).toBe(200);
    await vi.waitFor(
      async () => {
        const answer = await fetch(`${proxy.address}/object-storage/history`);
        const { create } = (await answer.json()) as { create: { count: number[] } };
        expect(create.count.reduce((sum, count) => sum + count, 0)).toBe(stored.length);
      },
      { timeout: 10_000, interval: 200 },
    );
    const { page } = await openPage(browser, guarded.url, {
      httpCredentials: { username: 'alice', password: 'wonderland' },
    });
    await expectText(page, '#sentence', /^All is well/);
    await page.context().close();
  } finally {
    await proxy.close();
  }
});

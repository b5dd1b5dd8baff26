// SPDX-License-Identifier: GPL-3.0-or-later
// Where files lie: the panel with the search, what it finds, and the files of one resource.

import type { LocatedAttachment, LocatedObject } from '../attachments/locate.ts';
import { field, isLevel, type Resource } from '../orthanc/api.ts';
import type { Status } from '../plugin/status.ts';
import { ApiError, getJson, urlOf } from './api.ts';
import { ask, isAsking } from './ask.ts';
import { button, byId, fill, h, scrolling, setText } from './dom.ts';
import { describe, type Found, findResources, nameOfLevel } from './find.ts';
import { formatBytes, formatCount, plural } from './format.ts';
import type { Target } from './moves.ts';

const SHOWN_MAX = 200;
/** So many instances are asked for only after the user has agreed: each is a request to the bucket, of which some cost money. */
const MANY = 2000;

export interface Located {
  /** Tells which stores there are. */
  show(status: Status): void;
  /** Asks again where the files are that are shown. */
  refresh(): void;
}

export function createLocated(deps: {
  readonly move: (resource: Found, target: Target) => Promise<void>;
}): Located {
  const input = byId('words') as HTMLInputElement;
  const state = byId('find-state');
  let controller = new AbortController();
  let status: Status | undefined;
  /** Of which files are shown. */
  let shown: Found | undefined;
  let drawn = '';
  let isBusy = false;

  /** Ends what was asked before, so that answers come in order. */
  async function run(waiting: string, work: (signal: AbortSignal) => Promise<string>) {
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    setText(state, waiting);
    isBusy = true;
    try {
      const text = await work(signal);
      if (!signal.aborted) setText(state, text);
    } catch (error) {
      if (signal.aborted) return;
      setText(state, error instanceof ApiError ? error.message : String(error));
    } finally {
      if (!signal.aborted) isBusy = false;
    }
  }

  function clear(): void {
    shown = undefined;
    drawn = '';
    fill(byId('located'));
  }

  async function search(words: string): Promise<void> {
    clear();
    fill(byId('found'));
    await run('Searching …', async (signal) => {
      const { found, isCut } = await findResources(words, signal);
      const [only] = found;
      if (only === undefined) return 'Orthanc has no such patient or study.';
      fill(byId('found'), drawFound(found));
      if (found.length === 1) return await locate(only, signal);
      return isCut
        ? `${found.length} of more studies; write more to find others.`
        : plural(found.length, 'study', 'studies');
    });
  }

  function drawFound(found: readonly Found[]): HTMLElement {
    const rows = found.map((one) => {
      const { level, patientName, patientId, date, description, accessionNumber } = one;
      const name = patientName === '' ? '(no name)' : patientName;
      const patient = one.patientResource;
      return h(
        'tr',
        {},
        h('th', { scope: 'row' }, name),
        h('td', {}, patientId),
        h('td', {}, level === 'patients' ? 'all studies' : date),
        h('td', {}, description),
        h('td', {}, accessionNumber),
        h(
          'td',
          {},
          h(
            'span',
            { class: 'buttons' },
            button('Files', () => void open(one), {
              class: 'small',
              'aria-label': `Files of ${name}, ${level === 'patients' ? 'all studies' : date}`,
            }),
            level === 'studies' && patient !== undefined
              ? button('Whole patient', () => void open(wholePatient(one, patient)), {
                  class: 'small',
                  'aria-label': `Whole patient ${name}`,
                })
              : undefined,
          ),
        ),
      );
    });
    return table(['Patient', 'Patient ID', 'Study', 'Description', 'Accession number', ''], rows);
  }

  async function open(resource: Found): Promise<void> {
    clear();
    history.replaceState(null, '', `#${resource.level}/${resource.id}`);
    await run('Asking the stores …', (signal) => locate(resource, signal));
    byId('located').focus();
  }

  async function locate(resource: Found, signal: AbortSignal): Promise<string> {
    const { level, id } = resource;
    const statistics = await getJson(`/${level}/${id}/statistics`, signal);
    const count = Number(field(statistics, 'CountInstances') ?? 1);
    if (count > MANY && !(await askAboutMany(count))) return 'The stores were not asked.';
    setText(state, 'Asking the stores …');
    return await draw(resource, signal);
  }

  async function draw(resource: Found, signal: AbortSignal): Promise<string> {
    const { level, id } = resource;
    const answer = await getJson(`/object-storage/locate/${level}/${id}`, signal);
    const attachments = answer as readonly LocatedAttachment[];
    const next = JSON.stringify(answer);
    if (shown === resource && drawn === next) return '';
    const place = byId('located');
    const isOpen = shown === resource ? place.querySelector('details')?.open : undefined;
    const hasFocus = place.contains(document.activeElement);
    fill(place, drawLocated(resource, attachments));
    const details = place.querySelector('details');
    if (details !== null && isOpen !== undefined) details.open = isOpen;
    if (hasFocus) place.focus({ preventScroll: true });
    shown = resource;
    drawn = next;
    return '';
  }

  function drawLocated(resource: Found, attachments: readonly LocatedAttachment[]): HTMLElement {
    const { level, patientName, patientId, date, description } = resource;
    const names = [patientName, patientId, date, description];
    const page = { patients: 'patient', studies: 'study', series: 'series', instances: 'instance' };
    const explorer = urlOf(`/app/explorer.html#${page[level]}?uuid=${resource.id}`);
    return h(
      'div',
      { class: 'located' },
      h('h3', {}, `Files of the ${nameOfLevel(level)} ${names.filter(Boolean).join(' · ')}`),
      h('ul', {}, ...summarize(attachments).map((line) => h('li', {}, ...line))),
      h(
        'p',
        { class: 'buttons' },
        ...moveButtons(resource, attachments),
        h('a', { href: explorer }, 'Open in Orthanc Explorer'),
      ),
      drawFiles(attachments),
    );
  }

  /** Where something is to be moved. */
  function moveButtons(
    resource: Found,
    attachments: readonly LocatedAttachment[],
  ): readonly (HTMLElement | undefined)[] {
    if (status === undefined || status.hybrid === null) return [];
    const isSome = (onDisk: boolean) =>
      attachments.some(({ stores }) =>
        stores.some(({ store }) => (store === 'file-system') === onDisk),
      );
    const move = (name: string, target: Target) =>
      button(name, () => void deps.move(resource, target));
    return [
      isSome(true) ? move('Move to the bucket', 'object-storage') : undefined,
      isSome(false) ? move('Move to the disk', 'file-system') : undefined,
    ];
  }

  byId('find').addEventListener('submit', (event) => {
    event.preventDefault();
    const words = input.value.trim();
    if (words !== '') void search(words);
  });

  function openFromAddress(): void {
    const resource = resourceIn(location.hash);
    if (resource === undefined) return;
    clear();
    void run('Asking Orthanc …', async (signal) => {
      const found = await describe(resource, signal);
      fill(byId('found'));
      return await locate(found, signal);
    });
  }
  addEventListener('hashchange', openFromAddress);
  openFromAddress();

  return {
    show(next) {
      status = next;
    },
    refresh() {
      const resource = shown;
      // What the user does comes first, and nobody asked for a question of ours.
      if (resource === undefined || isBusy || isAsking()) return;
      void run('', (signal) => draw(resource, signal));
    },
  };
}

/** @param hash such as "#studies/0123…", from Orthanc Explorer */
function resourceIn(hash: string): Resource | undefined {
  const [level = '', id = ''] = hash.slice(1).split('/');
  return isLevel(level) && /^[0-9a-f-]{44}$/.test(id) ? { level, id } : undefined;
}

function askAboutMany(count: number): Promise<boolean> {
  return ask({
    title: 'Ask the stores?',
    text: `There are ${formatCount(count)} instances. The stores are asked for each of their files, which takes a while.`,
    yes: 'Ask',
  });
}

/** Without what is of one study only, so that no question names it. */
function wholePatient(study: Found, id: string): Found {
  return { ...study, level: 'patients', id, date: '', description: '', accessionNumber: '' };
}

/** A line for each store, and one for what is lost. */
function summarize(attachments: readonly LocatedAttachment[]): readonly (string | Node)[][] {
  const stores = new Map<string, LocatedObject[]>();
  for (const object of attachments.flatMap((one) => one.stores)) {
    const objects = stores.get(object.store) ?? [];
    objects.push(object);
    stores.set(object.store, objects);
  }
  const lines: (string | Node)[][] = [...stores].map(([store, objects]) => {
    const bytes = objects.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
    const pending = objects.filter((object) => object.pending === true).length;
    const wait = pending === 0 ? '' : `; ${plural(pending, 'file')} not uploaded yet`;
    return [
      h('b', {}, nameOfPlace(store)),
      `: ${plural(objects.length, 'file')}, ${formatBytes(bytes)}, ${describeSeals(objects)}${wait}`,
    ];
  });
  const lost = attachments.filter((one) => one.stores.length === 0).length;
  if (lost > 0) {
    lines.unshift([
      h('span', { class: 'badge bad' }, 'lost'),
      ` ${plural(lost, 'file')} in no store`,
    ]);
  }
  return lines.length === 0 ? [['Orthanc has no files of it.']] : lines;
}

function describeSeals(objects: readonly LocatedObject[]): string {
  const counts = new Map<string, number>();
  for (const object of objects) {
    const seal = sealOf(object);
    counts.set(seal, (counts.get(seal) ?? 0) + 1);
  }
  const [first, ...others] = [...counts];
  if (first === undefined) return '';
  return others.length === 0
    ? first[0]
    : [first, ...others].map(([seal, count]) => `${formatCount(count)} ${seal}`).join(', ');
}

function sealOf({ encryption, damaged }: LocatedObject): string {
  if (damaged === true) return 'damaged';
  return encryption === null
    ? 'not encrypted'
    : `encrypted (${encryption.format}, key ${encryption.keyId})`;
}

function nameOfPlace(store: string): string {
  return store === 'file-system' ? "Orthanc's folder" : `Bucket (${store})`;
}

function drawFiles(attachments: readonly LocatedAttachment[]): HTMLElement {
  const body = h('tbody');
  const more = button('', () => {
    add();
  });
  let shown = 0;
  function add(): void {
    const next = attachments.slice(shown, shown + SHOWN_MAX);
    body.append(...next.flatMap(drawFile));
    shown += next.length;
    more.hidden = shown >= attachments.length;
    setText(more, `Show ${formatCount(Math.min(SHOWN_MAX, attachments.length - shown))} more`);
  }
  add();
  const summary = h('summary', {}, `Each of ${plural(attachments.length, 'file')}`);
  return h(
    'details',
    { open: attachments.length <= 20 },
    summary,
    scrolling(
      h('table', {}, headOf(['File', 'Store', 'Key', 'Size', 'Encryption']), body),
      'Files',
    ),
    more,
  );
}

function drawFile({ level, name, plainBytes, stores }: LocatedAttachment): readonly HTMLElement[] {
  const what = level === 'instances' ? name : `${name} of the ${nameOfLevel(level)}`;
  if (stores.length === 0) {
    const lost = h('td', { colspan: 3 }, h('span', { class: 'badge bad' }, 'lost'), ' in no store');
    return [
      h('tr', {}, h('td', {}, what), lost, h('td', { class: 'number' }, formatBytes(plainBytes))),
    ];
  }
  return stores.map((object) =>
    h(
      'tr',
      {},
      h('td', {}, what),
      h(
        'td',
        {},
        object.store === 'file-system' ? 'disk' : object.store,
        object.pending === true
          ? h('span', { class: 'badge watch' }, 'not uploaded yet')
          : undefined,
      ),
      h('td', { class: 'key' }, object.key),
      h('td', { class: 'number' }, formatBytes(object.storedBytes)),
      h(
        'td',
        {},
        object.encryption === null
          ? object.damaged === true
            ? 'damaged'
            : 'none'
          : `${object.encryption.format}, key ${object.encryption.keyId}`,
      ),
    ),
  );
}

function table(names: readonly string[], rows: readonly HTMLElement[]): HTMLElement {
  return scrolling(h('table', {}, headOf(names), h('tbody', {}, ...rows)), 'Found');
}

function headOf(names: readonly string[]): HTMLElement {
  const cells = names.map((name) =>
    name === ''
      ? h('td')
      : h('th', { scope: 'col', class: name === 'Size' ? 'number' : undefined }, name),
  );
  return h('thead', {}, h('tr', {}, ...cells));
}

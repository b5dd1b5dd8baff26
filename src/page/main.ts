// SPDX-License-Identifier: GPL-3.0-or-later
// The page /object-storage/app/: asks Orthanc and the plugin, and shows what they say.

import type { HistoryAnswer } from '../plugin/history.ts';
import type { Status } from '../plugin/status.ts';
import { ApiError, getJson, urlOf } from './api.ts';
import { byId, fill, h, setText } from './dom.ts';
import { createErrors } from './errors.ts';
import { type Finding, judge } from './health.ts';
import { createLocated } from './located.ts';
import { createMoves } from './moves.ts';
import { createPlaces, describePlugin } from './places.ts';
import { createPlots } from './plots.ts';
import { createTotals } from './totals.ts';

const STATUS_MS = 5_000;
/** As often as there is a new sample. */
const HISTORY_MS = 15_000;
const MOVES_MS = 15_000;
const BUSY_MOVES_MS = 1_000;
const AGAIN_MS = 200;

const plots = createPlots();
const places = createPlaces();
const errors = createErrors();
const totals = createTotals();
const moves = createMoves({
  onStart: () => {
    askForMoves();
  },
  onEnd: () => {
    located.refresh();
  },
});
const located = createLocated({ move: (resource, target) => moves.start(resource, target) });
byId('back').setAttribute('href', urlOf('/'));

let status: Status | undefined;
let history: HistoryAnswer | undefined;

poll(async () => {
  try {
    status = (await getJson('/object-storage/status')) as Status;
    showStatus(status);
  } catch (error) {
    showFindings([{ level: 'bad', what: describeFailure(error), todo: adviceFor(error) }]);
  }
  return STATUS_MS;
});
poll(async () => {
  // The state says what is wrong, if anything is.
  history = (await getJson('/object-storage/history').catch(() => history)) as typeof history;
  if (history !== undefined) plots.show(history);
  if (status !== undefined) showFindings(judge(status, history));
  // The first sample is taken 15 seconds after the start.
  return history === undefined || history.time.length === 0 ? STATUS_MS : HISTORY_MS;
});
const askForMoves = poll(async () => {
  if (status === undefined) return STATUS_MS / 10;
  return (await moves.refresh()) ? BUSY_MOVES_MS : MOVES_MS;
});

function showStatus(next: Status): void {
  const { short, long } = describePlugin(next);
  setText(byId('about'), short);
  setText(byId('foot'), long);
  places.show(next);
  errors.show(next);
  totals.show(next);
  moves.show(next);
  located.show(next);
  showFindings(judge(next, history));
}

function showFindings([first, ...others]: readonly Finding[]): void {
  if (first === undefined) return;
  byId('state').className = `state ${first.level}`;
  setText(byId('sentence'), first.what);
  setText(byId('todo'), first.todo ?? '');
  const texts = others.map(({ what, todo }) => (todo === undefined ? what : `${what} ${todo}`));
  const list = byId('findings');
  if (list.textContent !== texts.join('')) fill(list, ...texts.map((text) => h('li', {}, text)));
}

function describeFailure(error: unknown): string {
  return error instanceof ApiError ? error.message : `The page has a defect: ${String(error)}`;
}

function adviceFor(error: unknown): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  if (error.refusal === 'unreachable')
    return 'It is asked again every five seconds. See whether Orthanc runs, and its log.';
  if (error.refusal === 'missing')
    return 'The plugin is not loaded, or has no section in the configuration: see Orthanc’s log.';
  return undefined;
}

/** Asks again and again, but not while nobody sees the page. @param work returns when to ask next, in milliseconds
 *  @returns asks at once */
function poll(work: () => Promise<number>): () => void {
  let timer: number | undefined;
  let isAsking = false;
  const run = async () => {
    clearTimeout(timer);
    // The answer that is under way may be too old.
    if (isAsking) {
      timer = window.setTimeout(() => void run(), AGAIN_MS);
      return;
    }
    isAsking = true;
    const waitMs = await work();
    isAsking = false;
    if (document.visibilityState === 'visible') {
      clearTimeout(timer);
      timer = window.setTimeout(() => void run(), waitMs);
    }
  };
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') void run();
    else clearTimeout(timer);
  });
  void run();
  return () => void run();
}

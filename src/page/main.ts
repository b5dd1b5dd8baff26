// SPDX-License-Identifier: GPL-3.0-or-later
// The page /object-storage/app/: asks Orthanc and the plugin, and shows what they say.

import type { HistoryAnswer } from '../plugin/history.ts';
import type { Status } from '../plugin/status.ts';
import { ApiError, pollJson, urlOf } from './api.ts';
import { byId, fill, h, setText } from './dom.ts';
import { createErrors } from './errors.ts';
import { type Finding, judge } from './health.ts';
import { createLocated } from './located.ts';
import { createMoves } from './moves.ts';
import { createPlaces, describePlugin } from './places.ts';
import { createPlots } from './plots.ts';
import { poll } from './poll.ts';
import { createTotals } from './totals.ts';

const STATUS_MS = 5_000;
/** As often as there is a new sample. */
const HISTORY_MS = 15_000;
const MOVES_MS = 15_000;
const BUSY_MOVES_MS = 1_000;

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
/** undefined: the last question had no answer. */
let history: HistoryAnswer | undefined;
/** Why the last question for the status had no answer. */
let failure: Finding | undefined;

const page = {
  isVisible: () => document.visibilityState === 'visible',
  onChange: (listener: () => void) => {
    document.addEventListener('visibilitychange', listener);
  },
};
poll(async () => {
  try {
    const next = (await pollJson('/object-storage/status')) as Status;
    if (status !== undefined && status.version !== next.version) reloadOnce();
    status = next;
    showStatus(next);
    failure = undefined;
  } catch (error) {
    failure = { level: 'bad', what: describeFailure(error), todo: adviceFor(error) };
  }
  showState();
  return STATUS_MS;
}, page);
poll(async () => {
  // The state says what is wrong, if anything is.
  history = (await pollJson('/object-storage/history').catch(() => undefined)) as typeof history;
  if (history !== undefined) plots.show(history);
  showState();
  // The first sample is taken 15 seconds after the start.
  return history === undefined || history.time.length === 0 ? STATUS_MS : HISTORY_MS;
}, page);
const askForMoves = poll(async () => {
  if (status === undefined) return STATUS_MS / 10;
  return (await moves.refresh()) ? BUSY_MOVES_MS : MOVES_MS;
}, page);

function showStatus(next: Status): void {
  const { short, long } = describePlugin(next);
  setText(byId('about'), short);
  setText(byId('foot'), long);
  places.show(next);
  errors.show(next);
  totals.show(next);
  moves.show(next);
  located.show(next);
}

function showState(): void {
  if (failure !== undefined) showFindings([failure]);
  else if (status !== undefined) showFindings(judge(status, history));
}

/** A newer plugin has a newer page. Behind one address, there may be Orthancs of two versions for a while. */
function reloadOnce(): void {
  const [navigation] = performance.getEntriesByType('navigation');
  if (navigation instanceof PerformanceNavigationTiming && navigation.type !== 'reload') {
    location.reload();
  }
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

// SPDX-License-Identifier: GPL-3.0-or-later
// Moves between disk and bucket: Orthanc's jobs of the type MoveStorage.

import { field } from '../orthanc/api.ts';
import type { Status } from '../plugin/status.ts';
import { ApiError, listOf, pollJson, postJson, textOf } from './api.ts';
import { ask } from './ask.ts';
import { button, byId, fill, h, setText } from './dom.ts';
import { type Found, nameOfLevel } from './find.ts';
import { formatBytes, formatDuration, formatOrthancTime, plural } from './format.ts';

const JOB_TYPE = 'MoveStorage';
const FAILURES_SHOWN = 5;
const TARGET_NAMES = { 'file-system': "Orthanc's folder", 'object-storage': 'the bucket' } as const;
export type Target = keyof typeof TARGET_NAMES;

interface Job {
  readonly id: string;
  readonly state: string;
  readonly percent: number;
  readonly content: unknown;
  readonly created: string;
  readonly seconds: number;
  readonly error: string;
}

export interface Moves {
  show(status: Status): void;
  start(resource: Found, target: Target): Promise<void>;
  /** @returns whether one is under way */
  refresh(): Promise<boolean>;
}

export function createMoves({
  onStart,
  onEnd,
}: {
  /** There is something to watch. */
  readonly onStart: () => void;
  /** Files are elsewhere now. */
  readonly onEnd: () => void;
}): Moves {
  let isActive = false;
  let begun = 0;
  const state = byId('moves-state');
  const rows = new Map<string, ReturnType<typeof createRow>>();
  let isHybrid = false;

  async function refresh(): Promise<boolean> {
    if (!isHybrid) return false;
    try {
      const before = begun;
      const answer = await pollJson('/jobs?expand');
      // It does not know the move that has begun meanwhile.
      if (begun !== before) return true;
      const jobs = listOf(answer)
        .filter((job) => field(job, 'Type') === JOB_TYPE)
        .map(toJob)
        .toSorted((a, b) => b.created.localeCompare(a.created));
      draw(jobs);
      const wasActive = isActive;
      isActive = jobs.some((job) => job.state === 'Running' || job.state === 'Pending');
      if (wasActive && !isActive) onEnd();
      return isActive;
    } catch (error) {
      setText(state, messageOf(error));
      return false;
    }
  }

  function draw(jobs: readonly Job[]): void {
    setText(
      state,
      jobs.length === 0 ? 'None yet. To move a patient or a study, find it above.' : '',
    );
    const list = byId('moves');
    // What stays is kept, with the keyboard's focus.
    for (const [id, row] of rows) {
      if (jobs.some((job) => job.id === id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    for (const [index, job] of jobs.entries()) {
      let row = rows.get(job.id);
      if (row === undefined) {
        row = createRow(control);
        rows.set(job.id, row);
      }
      row.show(job);
      if (list.children[index] !== row.element)
        list.insertBefore(row.element, list.children[index] ?? null);
    }
  }

  async function control(id: string, action: 'cancel' | 'pause' | 'resume'): Promise<void> {
    try {
      await postJson(`/jobs/${encodeURIComponent(id)}/${action}`, {});
      onStart();
    } catch (error) {
      setText(state, messageOf(error));
    }
  }

  return {
    show(status) {
      isHybrid = status.hybrid !== null;
      if (!isHybrid) {
        setText(state, 'There is one store only. "HybridMode" makes it two, disk and bucket.');
      }
    },
    refresh,
    async start(resource, target) {
      const name = [nameOfLevel(resource.level), resource.patientName, resource.date]
        .filter(Boolean)
        .join(' ');
      const isSure = await ask({
        title: `Move to ${TARGET_NAMES[target]}?`,
        text: `All files of the ${name} are copied to ${TARGET_NAMES[target]}, compared, and then removed where they were. Clients can go on reading them.`,
        yes: 'Move',
      });
      if (!isSure) return;
      try {
        await postJson('/move-storage', {
          Resources: [resource.id],
          TargetStorage: target,
          Asynchronous: true,
        });
        isActive = true;
        begun += 1;
        onStart();
        byId('moves-title').scrollIntoView({ block: 'nearest' });
      } catch (error) {
        setText(state, messageOf(error));
      }
    },
  };
}

const STATES: Readonly<Record<string, readonly [text: string, level: string]>> = {
  Pending: ['waits', 'watch'],
  Running: ['under way', 'watch'],
  Paused: ['paused', 'watch'],
  Retry: ['waits to go on', 'watch'],
  Success: ['done', 'good'],
  Failure: ['failed', 'bad'],
};

function createRow(control: (id: string, action: 'cancel' | 'pause' | 'resume') => Promise<void>) {
  const title = h('b');
  const badge = h('span', { class: 'badge' });
  const bar = h('progress', { max: 100, 'aria-label': 'Progress' });
  const counts = h('p', { class: 'quiet' });
  const reasons = h('div', { class: 'reasons' });
  let job: Job | undefined;
  const act = (action: 'cancel' | 'pause' | 'resume') => () => {
    if (job !== undefined) void control(job.id, action);
  };
  const pause = button('Pause', act('pause'), { class: 'small' });
  const resume = button('Go on', act('resume'), { class: 'small' });
  const cancel = button('Cancel', act('cancel'), { class: 'small' });
  const element = h(
    'li',
    {},
    h('div', {}, h('p', {}, title, ' ', badge), bar, counts),
    h('div', { class: 'buttons' }, pause, resume, cancel),
    reasons,
  );
  let drawnReasons = '';

  return {
    element,
    show(next: Job): void {
      job = next;
      const { state, percent, content } = next;
      const target = field(content, 'TargetStorage') as Target;
      const isCanceled = state === 'Failure' && /cancel/i.test(next.error);
      const [text, level] = isCanceled
        ? ['canceled', 'watch']
        : (STATES[state] ?? [state, 'watch']);
      setText(
        title,
        `To ${TARGET_NAMES[target] ?? 'another store'}, ${formatOrthancTime(next.created)}`,
      );
      setText(badge, text);
      badge.className = `badge ${level}`;
      bar.value = percent;
      bar.hidden = state === 'Success';
      setText(counts, describeCounts(next));
      pause.hidden = !['Running', 'Pending'].includes(state);
      resume.hidden = state !== 'Paused';
      cancel.hidden = !['Running', 'Pending', 'Paused', 'Retry'].includes(state);
      const failures = failuresOf(content);
      const drawn = JSON.stringify(failures);
      if (drawn === drawnReasons) return;
      drawnReasons = drawn;
      fill(
        reasons,
        ...failures
          .slice(0, FAILURES_SHOWN)
          .map(({ uuid, reason }) => h('p', {}, h('code', {}, uuid), `: ${reason}`)),
        failures.length > FAILURES_SHOWN &&
          h('p', {}, `and ${failures.length - FAILURES_SHOWN} more`),
      );
    },
  };
}

function describeCounts({ content, state, percent, seconds, error }: Job): string {
  const number = (name: string) => Number(field(content, name) ?? 0);
  const parts = [
    state === 'Success' ? '' : `${Math.round(percent)} %`,
    `${plural(number('Moved'), 'file')} moved (${formatBytes(number('MovedBytes'))})`,
    number('AlreadyThere') > 0 ? `${plural(number('AlreadyThere'), 'file')} there already` : '',
    number('DeletedMeanwhile') > 0
      ? `${plural(number('DeletedMeanwhile'), 'file')} deleted meanwhile`
      : '',
    number('Failed') > 0 ? `${plural(number('Failed'), 'file')} not moved` : '',
    seconds >= 1 ? formatDuration(seconds) : '',
    state === 'Failure' && number('Failed') === 0 ? error : '',
  ];
  return parts.filter(Boolean).join(', ');
}

function failuresOf(
  content: unknown,
): readonly { readonly uuid: string; readonly reason: string }[] {
  return listOf(field(content, 'Failures')).map((failure) => ({
    uuid: textOf(failure, 'Uuid'),
    reason: textOf(failure, 'Reason'),
  }));
}

function toJob(job: unknown): Job {
  return {
    id: textOf(job, 'ID'),
    state: textOf(job, 'State'),
    percent: Number(field(job, 'Progress') ?? 0),
    content: field(job, 'Content'),
    created: textOf(job, 'CreationTime'),
    seconds: Number(field(job, 'EffectiveRuntime') ?? 0),
    error: textOf(job, 'ErrorDescription'),
  };
}

function messageOf(error: unknown): string {
  return error instanceof ApiError ? error.message : String(error);
}

// SPDX-License-Identifier: GPL-3.0-or-later
// The state in one sentence, and what to do.

import { explainCode, type StorageErrorCode } from '../error-codes.ts';
import type { HistoryAnswer } from '../plugin/history.ts';
import type { Status } from '../plugin/status.ts';
import { formatBytes, formatDuration, formatShare, formatTime, plural } from './format.ts';

/** "watch": nothing is lost, and yet somebody should look. "bad": files cannot be stored or read. */
export type Level = 'good' | 'watch' | 'bad';

export interface Finding {
  readonly level: Level;
  /** A sentence. */
  readonly what: string;
  readonly todo?: string | undefined;
}

const RECENT_SECONDS = 5 * 60;
/** As the plugin's own warning in Orthanc's log. */
const PENDING_SECONDS = 5 * 60;
/** A store that has just gone is told by this, after minutes of success. */
const LATELY_SECONDS = 60;
const STUCK_SECONDS = 60;
const BUSY_SHARE = 0.9;
const HOUR_SECONDS = 3600;

type History = HistoryAnswer | undefined;

/** @returns the worst first; if all is well, one finding that says so */
export function judge(status: Status, history: History): readonly Finding[] {
  const failed = failures(status, history);
  const findings = [
    ...failed,
    ...stuck(status, history),
    // What a code means is said once.
    ...uploads(status, failed.length > 0 ? status.recentErrors[0]?.code : undefined),
    ...removals(status),
    ...load(status),
    ...loops(status),
  ];
  if (findings.length === 0) return [allIsWell(status, history)];
  return findings.toSorted((a, b) => rank(b.level) - rank(a.level));
}

function rank(level: Level): number {
  return ['good', 'watch', 'bad'].indexOf(level);
}

export function nameOfStore(provider: string): string {
  return (
    { s3: 'S3 bucket', azure: 'Azure container', google: 'Google bucket' }[provider] ?? 'bucket'
  );
}

function allIsWell(status: Status, history: History): Finding {
  const where =
    status.hybrid?.writeTo === 'file-system'
      ? `new files go to the folder ${status.hybrid.folder}`
      : `new files go to the ${nameOfStore(status.provider)} “${status.bucket}”`;
  const now = nowOf(status);
  const since = sinceWhen(status, history);
  const calm =
    now - since >= HOUR_SECONDS
      ? 'nothing has failed in the last hour'
      : `nothing has failed since ${formatTime(since)}`;
  return { level: 'good', what: `All is well: ${where}, and ${calm}.` };
}

function nowOf(status: Status): number {
  return Date.parse(status.time) / 1000;
}

/** @returns the last failure, or from when on we would know of one. Each loop begins to count when it starts. */
function sinceWhen(status: Status, history: History): number {
  const [newest] = status.recentErrors;
  const at = failedIn(history).findLastIndex((failed) => failed > 0);
  const now = nowOf(status);
  const last = Math.max(secondsOf(newest?.time), history?.time[at] ?? 0);
  return Math.min(now, Math.max(now - status.uptimeSeconds, secondsOf(status.restarted), last));
}

/** @returns 0 for none */
function secondsOf(time: string | null | undefined): number {
  return Date.parse(time ?? '') / 1000 || 0;
}

function failedIn(history: History): readonly number[] {
  if (history === undefined) return [];
  const { create, read, remove, time } = history;
  return time.map(
    (_, at) => valueAt(create.failed, at) + valueAt(read.failed, at) + valueAt(remove.failed, at),
  );
}

function succeededIn(history: History): readonly number[] {
  if (history === undefined) return [];
  const { create, read, remove, time } = history;
  return time.map(
    (_, at) => valueAt(create.count, at) + valueAt(read.count, at) + valueAt(remove.count, at),
  );
}

function failures(status: Status, history: History): readonly Finding[] {
  const nowSeconds = nowOf(status);
  const countIn = (seconds: number) => {
    // What comes later is of a clock that was set back since.
    const isIn = (time: number) => Math.abs(time - nowSeconds) < seconds;
    const sum = (counts: readonly number[]) =>
      counts.reduce((all, count, at) => all + (isIn(valueAt(history?.time, at)) ? count : 0), 0);
    const listed = status.recentErrors.filter(({ time }) => isIn(Date.parse(time) / 1000)).length;
    // The list is ahead of the samples.
    return {
      failed: Math.max(sum(failedIn(history)), listed),
      succeeded: sum(succeededIn(history)),
    };
  };
  const { failed, succeeded } = countIn(RECENT_SECONDS);
  const lately = countIn(LATELY_SECONDS);
  const [newest] = status.recentErrors;
  if (failed === 0 || newest === undefined) return [];
  const others = succeeded === 0 ? 'none succeeded' : `${plural(succeeded, 'other')} succeeded`;
  return [
    {
      level: succeeded < failed || lately.succeeded < lately.failed ? 'bad' : 'watch',
      what: `${plural(failed, 'operation')} failed in the last five minutes, and ${others}: ${newest.code}.`,
      todo: explain(newest.code),
    },
  ];
}

function stuck(status: Status, history: History): readonly Finding[] {
  if (history === undefined || status.inFlight === 0) return [];
  const samples = Math.ceil(STUCK_SECONDS / history.sampleSeconds);
  const last = history.time.length - samples;
  if (last < 0) return [];
  const hasEnded = [succeededIn(history), failedIn(history)].some((counts) =>
    counts.slice(last).some((count) => count > 0),
  );
  const wasWaiting = history.inFlight.slice(last).every((count) => count > 0);
  if (hasEnded || !wasWaiting) return [];
  return [
    {
      // What the store lets wait too long, fails with TIMEOUT.
      level: 'watch',
      what: `${plural(status.inFlight, 'operation')} ${waits(status.inFlight)} for the store, and none has ended for a minute.`,
      todo: `A very large file may take so long. Otherwise, check whether this machine reaches ${status.place || 'the store'}: network, DNS, proxy, firewall.`,
    },
  ];
}

function uploads(
  { localCache }: Status,
  explained: StorageErrorCode | undefined,
): readonly Finding[] {
  if (localCache === null) return [];
  const { pending, trouble, refused, maxBytes } = localCache;
  const findings: Finding[] = [];
  if (refused > 0) {
    findings.push({
      level: 'bad',
      what: `${plural(refused, 'file')} on this machine's disk cannot be uploaded, while others can.`,
      todo: 'The reasons are below, under “Where patient data goes”.',
    });
  }
  const wait = `${plural(pending.count, 'file')} (${formatBytes(pending.bytes)}) on this machine's disk ${waits(pending.count)} for the bucket`;
  if (trouble !== null && pending.count > 0) {
    const isFull = pending.bytes > 0.8 * maxBytes;
    findings.push({
      level: isFull ? 'bad' : 'watch',
      what: `${wait}, and uploads fail: ${trouble.code}.`,
      todo: `${trouble.code === explained ? '' : `${explain(trouble.code)} `}They stay on the disk until they are uploaded.`,
    });
  } else if (pending.oldestSeconds > PENDING_SECONDS) {
    findings.push({
      level: 'watch',
      what: `${wait}, the oldest for ${formatDuration(wholeMinutes(pending.oldestSeconds))}.`,
      todo: 'More comes in than goes out: raise "UploadConcurrency", or look at the network.',
    });
  }
  return findings;
}

function removals({ removals: status }: Status): readonly Finding[] {
  if (status === null || status.refused === 0) return [];
  return [
    {
      level: 'watch',
      what: `The store refuses to remove ${plural(status.refused, 'object')}.`,
      todo: 'It needs the permission to delete. The objects stay until then, and are tried again.',
    },
  ];
}

function load({ eventLoopBusy }: Status): readonly Finding[] {
  const busy = Math.max(...eventLoopBusy);
  if (busy < BUSY_SHARE) return [];
  return [
    {
      level: 'watch',
      what: `The plugin's event loop is busy (${formatShare(busy)} of a core), so that operations wait for it.`,
      todo: 'Raise "Lanes", if this machine has cores to spare. "HybridMode", "LocalCache" and "DeleteInBackground" need 1: there, spread the load over several Orthancs.',
    },
  ];
}

function loops({ lanes, eventLoopBusy, restarted, time }: Status): readonly Finding[] {
  const findings: Finding[] = [];
  const silent = lanes - eventLoopBusy.length;
  if (silent > 0) {
    findings.push({
      level: 'watch',
      what: `${silent} of ${lanes} event loops ${silent === 1 ? 'does' : 'do'} not answer, and its operations are not in these figures.`,
      todo: 'If it hangs, a new one takes its place within a minute: see Orthanc’s log.',
    });
  }
  const since = secondsOf(restarted);
  if (since > Date.parse(time) / 1000 - HOUR_SECONDS) {
    findings.push({
      level: 'watch',
      what: `The plugin's runtime ended by itself, and a new one runs since ${formatTime(since)}: figures before that are lost.`,
      todo: 'Report the reason, which is in Orthanc’s log.',
    });
  }
  return findings;
}

/** The sentence is read out when it changes. */
function wholeMinutes(seconds: number): number {
  return Math.floor(seconds / 60) * 60;
}

function waits(count: number): string {
  return count === 1 ? 'waits' : 'wait';
}

function explain(code: StorageErrorCode): string {
  const { meaning, advice } = explainCode(code);
  return `${meaning} ${advice}`;
}

function valueAt(values: readonly number[] | undefined, at: number): number {
  return values?.[at] ?? 0;
}

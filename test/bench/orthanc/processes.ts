// SPDX-License-Identifier: GPL-3.0-or-later
// What processes, their threads and the machine take of the processors, in ms. @see proc(5)

import { readdirSync, readFileSync } from 'node:fs';

/** Of Orthanc's threads. */
export interface ThreadGroups {
  readonly loop: number;
  /** V8's workers: garbage collection and compilation. */
  readonly v8: number;
  readonly orthanc: number;
}

/** By the number of a thread. */
export type Threads = ReadonlyMap<string, { readonly name: string; readonly ms: number }>;

const TICK_MS = 10;

export function readThreads(pid: number): Threads {
  const threads = new Map<string, { name: string; ms: number }>();
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    const name = read(`/proc/${pid}/task/${id}/comm`)?.trim();
    const nanoseconds = read(`/proc/${pid}/task/${id}/schedstat`)?.split(' ')[0];
    if (name !== undefined && nanoseconds !== undefined) {
      threads.set(id, { name, ms: Number(nanoseconds) / 1e6 });
    }
  }
  return threads;
}

/** What was taken between two readings. A thread that ended in between is not counted. */
export function groupThreads(before: Threads, after: Threads): ThreadGroups {
  const groups = { loop: 0, v8: 0, orthanc: 0 };
  for (const [id, { name, ms }] of after) groups[groupOf(name)] += ms - (before.get(id)?.ms ?? 0);
  return groups;
}

/** The shim names its threads; Node 24 names V8's itself. */
function groupOf(name: string): keyof ThreadGroups {
  if (name.startsWith('storage-loop')) return 'loop';
  return name.startsWith('storage-v8') || name.includes('V8Worker') ? 'v8' : 'orthanc';
}

export function readProcessMs(pid: number): number {
  const text = read(`/proc/${pid}/stat`) ?? '';
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * TICK_MS;
}

export interface Machine {
  /** Of all processors, whoever had them. */
  readonly busyMs: number;
  readonly totalMs: number;
}

export function readMachine(): Machine {
  const line = read('/proc/stat')?.split('\n')[0] ?? '';
  // user nice system idle iowait irq softirq steal
  const fields = line.trim().split(/\s+/).slice(1, 9).map(Number);
  const totalMs = fields.reduce((sum, ticks) => sum + ticks, 0) * TICK_MS;
  return { busyMs: totalMs - ((fields[3] ?? 0) + (fields[4] ?? 0)) * TICK_MS, totalMs };
}

/** @param name such as VmRSS */
export function readMemoryMb(pid: number, name: string): number {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(read(`/proc/${pid}/status`) ?? '');
  if (match === null) throw new Error(`/proc/${pid}/status has no ${name}`);
  return Number(match[1]) / 1024;
}

/** @returns undefined where the thread or process has ended */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

// SPDX-License-Identifier: GPL-3.0-or-later

import { readFile } from 'node:fs/promises';

import type { Orthanc } from '../support/orthanc.ts';

/** User and system time. @see proc_pid_stat(5), fields 14 and 15, in ticks of 10 ms */
export async function readCpuMs({ pid }: Orthanc): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

export const medianOf = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

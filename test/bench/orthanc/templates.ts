// SPDX-License-Identifier: GPL-3.0-or-later
// The instances that the clients send: one file of each size, in which they change the ids.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { makeDicom, makeMultiFrameDicom } from '../../support/dicom.ts';
import type { LoadPlan } from './tools.ts';

/** In kB of pixels. */
export const SIZES = { '10k': 10, '512k': 528, '30M': 30_000 } as const;
export type Size = keyof typeof SIZES;

export interface Template extends Pick<LoadPlan, 'template' | 'ids' | 'perSeries'> {
  /** That are stored at the same time. */
  readonly maxInstances: number;
  readonly name: Size;
}

const PATIENT = 'P1000000';
const INSTANCE = '1.2.3.9.100000000';
/** From here on, a file is one of many frames. */
const LARGE_KB = 1000;

export async function makeTemplate(folder: string, size: Size): Promise<Template> {
  const kilobytes = SIZES[size];
  const isLarge = kilobytes >= LARGE_KB;
  const bytes = isLarge
    ? makeMultiFrameDicom(INSTANCE, kilobytes / LARGE_KB, PATIENT)
    : makeDicom({ sopInstanceUid: INSTANCE, patientId: PATIENT, pixelBytes: kilobytes * 1000 });
  const template = join(folder, `${size}.dcm`);
  await writeFile(template, bytes);
  const head = bytes.toString('latin1', 0, 2048);
  const find = (id: RegExp) => {
    const [found] = id.exec(head) ?? [];
    if (found === undefined) throw new Error(`the made DICOM file has no ${id.source}`);
    return found;
  };
  const study = find(/1\.2\.3\.4\.1\.\d+/);
  const series = find(/1\.2\.3\.4\.2\.\d+/);
  return {
    name: size,
    template,
    ids: { patient: PATIENT, study, series, instance: INSTANCE },
    perSeries: isLarge ? 2 : 10,
    maxInstances: isLarge ? 32 : 2000,
  };
}

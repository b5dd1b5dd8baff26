// SPDX-License-Identifier: GPL-3.0-or-later
// DeleteInBackground: where removals are noted.

import type { RawSection } from './fields.ts';
import { absoluteFolderIn, readFileSystem } from './orthanc.ts';
import type { Report } from './problems.ts';
import type { RemovalsSettings } from './settings.ts';

/** @param section its name */
export function readRemovals(
  section: string,
  values: { readonly DeleteInBackground: boolean; readonly Lanes: number },
  orthanc: RawSection,
  report: Report,
): RemovalsSettings {
  if (!values.DeleteInBackground) {
    const folder = absoluteFolderIn(orthanc);
    return { isOn: false, folders: folder === undefined ? [] : [folder], isSynchronous: true };
  }
  if (values.Lanes > 1) {
    report.problems.push(
      `${section}.Lanes: must be 1 with DeleteInBackground, since one event loop has to know of all removals`,
    );
  }
  const files = readFileSystem(orthanc, report);
  return {
    isOn: true,
    folders: files === undefined ? [] : [files.folder],
    isSynchronous: files?.isSynchronous ?? true,
  };
}

// SPDX-License-Identifier: GPL-3.0-or-later
// DeleteInBackground: where removals are noted.

import type { RawSection } from './fields.ts';
import { absoluteFolderIn, readFileSystem, readSynchronous } from './orthanc.ts';
import type { Report } from './problems.ts';
import type { RemovalsSettings } from './settings.ts';

/** @param section its name
 *  @param cacheDirectory LocalCache.Directory, which comes before StorageDirectory */
export function readRemovals(
  section: string,
  cacheDirectory: string | undefined,
  values: { readonly DeleteInBackground: boolean; readonly Lanes: number },
  orthanc: RawSection,
  report: Report,
): RemovalsSettings {
  const folders = [cacheDirectory, absoluteFolderIn(orthanc)].filter(
    (folder) => folder !== undefined,
  );
  if (!values.DeleteInBackground) return { isOn: false, folders, isSynchronous: true };
  if (values.Lanes > 1) {
    report.problems.push(
      `${section}.Lanes: must be 1 with DeleteInBackground, since one event loop has to know of all removals`,
    );
  }
  // Without a cache, StorageDirectory must be there.
  const isSynchronous =
    cacheDirectory === undefined
      ? readFileSystem(orthanc, report)?.isSynchronous
      : readSynchronous(orthanc, report);
  return { isOn: true, folders, isSynchronous: isSynchronous ?? true };
}

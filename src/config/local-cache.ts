// SPDX-License-Identifier: GPL-3.0-or-later
// LocalCache, a section in a provider's section.

import { isAbsolute, relative } from 'node:path';
import * as z from 'zod/mini';
import type { RawSection } from './fields.ts';
import { BYTES_PER_MB, butNot, flag, requiredText, wholeNumber } from './fields.ts';
import { absoluteFolderIn, readSynchronous } from './orthanc.ts';
import type { Report } from './problems.ts';
import type { LocalCacheSettings } from './settings.ts';

export const LOCAL_CACHE_KEY = 'LocalCache';

type LocalCacheValues = z.output<ReturnType<typeof localCacheSchema>>;

export function localCacheSchema() {
  return z.strictObject(
    {
      Directory: requiredText(
        'The absolute path of a folder for this Orthanc and this bucket alone, which exists and is empty at first.',
        'the absolute path of an empty folder',
        (path) => (isAbsolute(path) ? undefined : 'must be an absolute path'),
      ),
      MaxSize: wholeNumber(
        'How much the folder may hold, in MB of 1,048,576 bytes. The least recently used objects go first, and never one that is pending. With `WriteBack`, more that would be pending goes straight to the bucket.',
        { min: 1, max: 1_048_576_000, unit: 'MB', default: 10_240 },
      ),
      WriteBack: flag(
        'true: a file is stored once it is safe on this disk, and uploaded behind. Other Orthancs do not see it until then, and it is lost with the disk.',
        false,
      ),
      UploadConcurrency: wholeNumber('With `WriteBack`: how many uploads run at once.', {
        min: 1,
        max: 1000,
        unit: 'uploads',
        default: 8,
      }),
    },
    { error: (issue) => `must be an object${butNot(issue.input)}` },
  );
}

/** @param values undefined: there is no such section
 *  @param orthanc its own settings */
export function readLocalCache(
  section: string,
  values: LocalCacheValues | undefined,
  orthanc: RawSection,
  report: Report,
): Omit<LocalCacheSettings, 'stopTimeoutMs'> | undefined {
  if (values === undefined) return undefined;
  const isSynchronous = readSynchronous(orthanc, report);
  const folder = absoluteFolderIn(orthanc);
  const { Directory: directory } = values;
  if (folder !== undefined && (isWithin(directory, folder) || isWithin(folder, directory))) {
    report.problems.push(
      `${section}.${LOCAL_CACHE_KEY}.Directory: "${directory}" and StorageDirectory ("${folder}") must not be the same folder, nor one within the other`,
    );
  }
  return {
    directory,
    maxBytes: values.MaxSize * BYTES_PER_MB,
    writeBack: values.WriteBack,
    uploadConcurrency: values.UploadConcurrency,
    isSynchronous: isSynchronous ?? true,
  };
}

function isWithin(path: string, folder: string): boolean {
  const rest = relative(folder, path);
  return rest === '' || !(rest === '..' || rest.startsWith('../'));
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Finds our settings at the top of the configuration, where they have no effect. Docker's ORTHANC__STORAGE_ENCRYPTION__… puts them there,
// and C++ plugins before 1.0.0 read StorageEncryption there.

import { ENCRYPTION_KEY } from './encryption.ts';
import { isObject, type RawSection } from './fields.ts';
import type { Report } from './problems.ts';
import { type ProviderSection, sectionKeys } from './sections.ts';
import { isSlipOf } from './suggest.ts';

// Without them, files would be stored in the clear.
const ASKING_FOR_ENCRYPTION = [ENCRYPTION_KEY, 'MasterKey'];

/** Reports encryption as a problem, other settings as warnings. No setting of Orthanc 1.12.7 to 1.13.0 has the name of one of ours.
 *  @param present the sections in the configuration. Without one, only encryption is reported. */
export function reportMisplaced(
  orthanc: RawSection,
  present: readonly ProviderSection[],
  providers: readonly ProviderSection[],
  report: Report,
) {
  const possible =
    present.length > 0 ? present : providers.filter(({ replacedBy }) => replacedBy === undefined);
  const known = possible.flatMap(sectionKeys);
  for (const key of Object.keys(orthanc)) {
    const setting = isSlipOf(key, ENCRYPTION_KEY) ? ENCRYPTION_KEY : key;
    const places = known.filter(({ keys }) => keys.includes(setting)).map(({ section }) => section);
    if (places.length === 0) continue;
    const ignored = `${key}: is ignored at the top of the configuration`;
    const named = key === setting ? '' : ` as "${setting}"`;
    const isMissing = !places.some((place) => isWritten(orthanc, place, setting));
    const advice = isMissing
      ? `move it into ${places.join(' or ')}${named}`
      : `remove it, since ${places.join(' or ')} has its own`;
    if (ASKING_FOR_ENCRYPTION.includes(setting)) {
      const consequence = isMissing ? ', so that files would be stored in the clear' : '';
      report.problems.push(`${ignored}${consequence}; ${advice}`);
    } else if (present.length > 0) {
      report.warnings.push(`${ignored}; ${advice}`);
    }
  }
}

/** @param place such as "AwsS3Storage.StorageEncryption" */
function isWritten(orthanc: RawSection, place: string, key: string): boolean {
  let section: unknown = orthanc;
  for (const part of place.split('.')) section = isObject(section) ? section[part] : undefined;
  return isObject(section) && Object.hasOwn(section, key);
}

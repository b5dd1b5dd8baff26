// SPDX-License-Identifier: GPL-3.0-or-later
// Settings of ours beside the provider's section instead of in it, where Orthanc passes over them as over all that it does not
// know. Docker's ORTHANC__STORAGE_ENCRYPTION__… leads there, and there StorageEncryption was before version 1.0.0 of the C++
// plugins.

import { ENCRYPTION_KEY } from './encryption.ts';
import { isObject, type RawSection } from './fields.ts';
import type { Report } from './problems.ts';
import { type ProviderSection, sectionKeys } from './sections.ts';
import { isSlipOf } from './suggest.ts';

// Each alone says that files are to be encrypted: to go on without would store them in the clear.
const ASKING_FOR_ENCRYPTION = [ENCRYPTION_KEY, 'MasterKey'];

/** Encryption is a problem, anything else a warning. None of Orthanc's own settings has a name of ours (1.12.7 to 1.13.0).
 *  @param present the providers' sections in the configuration; none: Orthanc's storage is left alone, and only
 *    encryption that was asked for is reported */
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

/** @param place as in "AwsS3Storage.StorageEncryption" */
function isWritten(orthanc: RawSection, place: string, key: string): boolean {
  let section: unknown = orthanc;
  for (const part of place.split('.')) section = isObject(section) ? section[part] : undefined;
  return isObject(section) && Object.hasOwn(section, key);
}

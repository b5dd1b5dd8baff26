// SPDX-License-Identifier: GPL-3.0-or-later
// The owner of an attachment, by Orthanc's ids. Only a user of Orthanc can see the patient behind them.

import { type Level, type OrthancApi, parentOf, type Resource } from '../../orthanc/api.ts';

/** The resource that has the attachment, and its parents up to the study; or a patient alone. */
export interface Owner {
  readonly instance?: string;
  readonly series?: string;
  readonly study?: string;
  readonly patient?: string;
}

const NAMES = {
  instances: 'instance',
  series: 'series',
  studies: 'study',
  patients: 'patient',
} as const satisfies Record<Level, keyof Owner>;

/** Remembering the study of a series saves one of two requests for each instance. */
const REMEMBERED_MAX = 100_000;

export function createOwnerLookup(api: OrthancApi): (resource: Resource) => Promise<Owner> {
  const studies = new Map<string, Promise<Resource | undefined>>();

  function above(resource: Resource): Promise<Resource | undefined> {
    const { level, id } = resource;
    if (level !== 'series') return parentOf(api, resource);
    let study = studies.get(id);
    if (study === undefined) {
      if (studies.size >= REMEMBERED_MAX) studies.clear();
      study = parentOf(api, resource);
      studies.set(id, study);
    }
    return study;
  }

  return async (resource) => {
    const owner: { -readonly [name in keyof Owner]: string } = {};
    let current: Resource | undefined = resource;
    while (current !== undefined) {
      owner[NAMES[current.level]] = current.id;
      current = current.level === 'studies' ? undefined : await above(current);
    }
    return owner;
  };
}

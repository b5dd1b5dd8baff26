// SPDX-License-Identifier: GPL-3.0-or-later
// Finds patients and studies by Orthanc's own REST API.

import { field, isLevel, type Level, type Resource } from '../orthanc/api.ts';
import { ApiError, getJson, listOf, postJson, postText, textOf } from './api.ts';
import { formatDicomDate } from './format.ts';

export interface Found extends Resource {
  /** Such as "Doe^Jane". Empty where the index has none. */
  readonly patientName: string;
  readonly patientId: string;
  readonly patientResource: string | undefined;
  readonly date: string;
  readonly description: string;
  readonly accessionNumber: string;
}

const LIMIT = 25;
const ORTHANC_ID = /^[0-9a-f]{8}(-[0-9a-f]{8}){4}$/i;
/** Patient IDs may look like that, too: what is no UID is looked for among them. */
const UID = /^[0-9]+(\.[0-9]+)+$/;
const SINGULAR = { patients: 'Patient', studies: 'Study', series: 'Series', instances: 'Instance' };

/** @returns at most LIMIT studies, or the resource that the words identify
 *  @throws ApiError */
export async function findResources(
  words: string,
  signal: AbortSignal,
): Promise<{ readonly found: readonly Found[]; readonly isCut: boolean }> {
  const resources = ORTHANC_ID.test(words)
    ? await findById(words.toLowerCase(), signal)
    : UID.test(words)
      ? await lookUp(words, signal)
      : [];
  if (resources.length > 0) {
    const found = await Promise.all(resources.map((one) => describe(one, signal)));
    return { found, isCut: false };
  }
  return await findStudies(words, signal);
}

/** By one of three tags; Orthanc has no "or". Its names have no case. */
async function findStudies(words: string, signal: AbortSignal) {
  const literal = words.replace(/[*?\\]/g, '?');
  const queries = [
    { PatientID: `${literal}*` },
    { PatientName: `*${literal.replace(/[\s,]+/g, '*')}*` },
    { AccessionNumber: literal },
  ];
  const answers = await Promise.all(
    queries.map((Query) =>
      postJson('/tools/find', { Level: 'Study', Query, Expand: true, Limit: LIMIT + 1 }, signal),
    ),
  );
  const found = new Map<string, Found>();
  for (const study of answers.flatMap(listOf)) {
    const one = toFound('studies', study);
    found.set(one.id, one);
  }
  const all = [...found.values()].toSorted((a, b) => b.date.localeCompare(a.date));
  return { found: all.slice(0, LIMIT), isCut: all.length > LIMIT };
}

async function lookUp(uid: string, signal: AbortSignal): Promise<readonly Resource[]> {
  const answer = await postText('/tools/lookup', uid, signal);
  return listOf(answer).flatMap((one) => {
    const level = levelOf(String(field(one, 'Type')));
    return level === undefined ? [] : [{ level, id: String(field(one, 'ID')) }];
  });
}

async function findById(id: string, signal: AbortSignal): Promise<readonly Resource[]> {
  const levels = Object.keys(SINGULAR).filter(isLevel);
  const answers = await Promise.all(
    levels.map((level) => getJson(`/${level}/${id}`, signal).catch(undefinedIfMissing)),
  );
  return levels.flatMap((level, index) => (answers[index] === undefined ? [] : [{ level, id }]));
}

function undefinedIfMissing(error: unknown): undefined {
  if (!(error instanceof ApiError && error.refusal === 'missing')) throw error;
}

/** @throws ApiError */
export async function describe({ level, id }: Resource, signal: AbortSignal): Promise<Found> {
  const answer = await getJson(`/${level}/${encodeURIComponent(id)}`, signal);
  if (level === 'patients' || level === 'studies') return toFound(level, answer);
  // Names are at the levels above.
  const study = await getJson(`/${level}/${encodeURIComponent(id)}/study`, signal);
  return { ...toFound('studies', study), level, id };
}

function toFound(level: Level, answer: unknown): Found {
  const own = field(answer, 'MainDicomTags');
  const patient = field(answer, 'PatientMainDicomTags') ?? own;
  const id = textOf(answer, 'ID');
  return {
    level,
    id,
    patientName: textOf(patient, 'PatientName'),
    patientId: textOf(patient, 'PatientID'),
    patientResource: level === 'patients' ? id : textOf(answer, 'ParentPatient') || undefined,
    date: formatDicomDate(textOf(own, 'StudyDate')),
    description: textOf(own, 'StudyDescription'),
    accessionNumber: textOf(own, 'AccessionNumber'),
  };
}

function levelOf(singular: string): Level | undefined {
  return Object.keys(SINGULAR)
    .filter(isLevel)
    .find((level) => SINGULAR[level] === singular);
}

export function nameOfLevel(level: Level): string {
  return SINGULAR[level].toLowerCase();
}

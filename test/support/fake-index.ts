// SPDX-License-Identifier: GPL-3.0-or-later
// What Orthanc's REST API tells of its index, for tests without Orthanc.

import { createHash } from 'node:crypto';
import { createOrthancApi, type OrthancApi, type Resource } from '../../src/orthanc/api.ts';

export interface FakeAttachment {
  readonly resource: Resource;
  readonly name: string;
  readonly uuid: string;
  readonly contentType: number;
  readonly bytes: Uint8Array;
}

export interface FakeIndex {
  readonly api: OrthancApi;
  readonly attachments: readonly FakeAttachment[];
  /** One patient with one study of one series. */
  readonly patient: Resource;
  readonly study: Resource;
  readonly series: Resource;
  readonly instances: readonly Resource[];
  /** As if it had been deleted. */
  forget(uuid: string): void;
  /** As if it had been stored again. */
  remember(uuid: string): void;
}

/** @param instances each with a DICOM file; the study, the first instance and the patient have attachments of users' besides
 *  @param contents by uuid, instead of its own */
export function createFakeIndex(
  instances: number,
  contents: ReadonlyMap<string, Uint8Array> = new Map(),
): FakeIndex {
  const patient: Resource = { level: 'patients', id: fakeId('patient') };
  const study: Resource = { level: 'studies', id: fakeId('study') };
  const series: Resource = { level: 'series', id: fakeId('series') };
  const children = Array.from(
    { length: instances },
    (_, index): Resource => ({ level: 'instances', id: fakeId(`instance ${index}`) }),
  );
  const all = new Map<string, FakeAttachment>();
  const add = (resource: Resource, name: string, contentType: number) => {
    const digest = createHash('md5').update(`${resource.id} ${name}`).digest('hex');
    const uuid = digest.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
    const bytes = contents.get(uuid) ?? Buffer.from(`content of ${name} of ${resource.id}`);
    all.set(uuid, { resource, name, uuid, contentType, bytes });
  };
  for (const instance of children) add(instance, 'dicom', 1);
  const [first] = children;
  if (first !== undefined) add(first, '1024', 1024);
  add(study, 'report', 1500);
  add(patient, 'consent', 1600);
  const attachments = [...all.values()];

  const infoOf = (found: FakeAttachment) => ({
    Uuid: found.uuid,
    ContentType: found.contentType,
    CompressedSize: found.bytes.length,
    CompressedMD5: createHash('md5').update(found.bytes).digest('hex'),
  });
  const answer = (path: string): unknown => {
    const list = /^\/(\w+)\?expand&response-content=Attachments&since=(\d+)&limit=(\d+)$/.exec(
      path,
    );
    if (list !== null) {
      const [, level, since, limit] = list;
      return [patient, study, series, ...children]
        .filter((resource) => resource.level === level)
        .slice(Number(since), Number(since) + Number(limit))
        .map(({ id }) => ({
          ID: id,
          Attachments: [...all.values()].filter(({ resource }) => resource.id === id).map(infoOf),
        }));
    }
    const [, level, id, what, name] = path.split('/');
    const known = [patient, study, series, ...children].find((one) => one.id === id);
    if (known === undefined || known.level !== level) return undefined;
    const own = [...all.values()].filter(({ resource }) => resource.id === id);
    if (what === 'attachments') {
      if (name === undefined) return own.map((one) => one.name);
      const found = own.find((one) => one.name === name);
      if (found === undefined) return undefined;
      return infoOf(found);
    }
    return {
      patients: { Studies: [study.id] },
      studies: { ParentPatient: patient.id, Series: [series.id] },
      series: { ParentStudy: study.id, Instances: children.map((one) => one.id) },
      instances: { ParentSeries: series.id },
    }[known.level];
  };
  return {
    api: createOrthancApi((path) => {
      const value = answer(path);
      return Promise.resolve(
        value === undefined
          ? { status: 404, body: Buffer.alloc(0) }
          : { status: 200, body: Buffer.from(JSON.stringify(value)) },
      );
    }),
    attachments,
    patient,
    study,
    series,
    instances: children,
    forget: (uuid) => {
      all.delete(uuid);
    },
    remember: (uuid) => {
      const known = attachments.find((attachment) => attachment.uuid === uuid);
      if (known !== undefined) all.set(uuid, known);
    },
  };
}

function fakeId(text: string): string {
  const digest = createHash('sha1').update(text).digest('hex');
  return digest.match(/.{8}/g)?.join('-') ?? '';
}

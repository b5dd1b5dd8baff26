// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from '../errors.ts';

/** Storage operations must not call it: Orthanc may be waiting for them. */
export interface OrthancApi {
  /** @returns the parsed answer; undefined for 404
   *  @throws StorageError CLOSED once Orthanc is stopping; UNAVAILABLE for any other answer than 200 */
  get(path: string): Promise<unknown>;
}

/** The shim's status for a call that it did not make, because Orthanc is stopping. */
export const NOT_CALLED = 0;

export function orthancIsStopping(): StorageError {
  return new StorageError('CLOSED', 'Orthanc is stopping');
}

export function createOrthancApi(
  call: (path: string) => Promise<{ readonly status: number; readonly body: Uint8Array }>,
): OrthancApi {
  return {
    async get(path) {
      const { status, body } = await call(path);
      if (status === NOT_CALLED) throw orthancIsStopping();
      if (status === 404 || (status === 500 && NOT_FOUND_ERROR.test(textOf(body))))
        return undefined;
      if (status !== 200) {
        throw new StorageError('UNAVAILABLE', `Orthanc answers ${status} to GET ${path}`);
      }
      try {
        return JSON.parse(textOf(body)) as unknown;
      } catch (error) {
        throw new StorageError('UNAVAILABLE', `Orthanc's answer to GET ${path} is no JSON`, {
          cause: error,
        });
      }
    },
  };
}

/** Calls within Orthanc fail with UnknownResource or InexistentItem in place of 404. This is how the shim words them. */
const NOT_FOUND_ERROR = /^Orthanc error (17|7)$/;

function textOf(body: Uint8Array): string {
  return Buffer.from(body).toString();
}

/** The names in Orthanc's REST paths, from the top. */
export const LEVELS = ['patients', 'studies', 'series', 'instances'] as const;
export type Level = (typeof LEVELS)[number];

export interface Resource {
  readonly level: Level;
  readonly id: string;
}

export interface IndexedAttachment {
  readonly resource: Resource;
  /** "dicom", or a user-defined name or number. */
  readonly name: string;
  readonly uuid: string;
  /** OrthancPluginContentType. */
  readonly contentType: number;
  /** As stored, after StorageCompression. */
  readonly contentBytes: number;
  /** As stored; undefined without StoreMD5ForAttachments. */
  readonly md5Hex: string | undefined;
}

// A SHA-1 sum in five groups.
const RESOURCE_ID = /^[0-9a-f]{8}(-[0-9a-f]{8}){4}$/;

export function isLevel(text: string): text is Level {
  return (LEVELS as readonly string[]).includes(text);
}

/** @param likely the level to ask for first
 *  @returns undefined if Orthanc has no such resource */
export async function findResource(
  api: OrthancApi,
  id: string,
  likely: Level = 'instances',
): Promise<Resource | undefined> {
  if (!RESOURCE_ID.test(id)) return undefined;
  for (const level of new Set([likely, ...LEVELS.toReversed()])) {
    if ((await api.get(`/${level}/${id}`)) !== undefined) return { level, id };
  }
  return undefined;
}

export async function hasResource(api: OrthancApi, { level, id }: Resource): Promise<boolean> {
  return RESOURCE_ID.test(id) && (await api.get(`/${level}/${id}`)) !== undefined;
}

const PARENTS = {
  patients: undefined,
  studies: { key: 'ParentPatient', level: 'patients' },
  series: { key: 'ParentStudy', level: 'studies' },
  instances: { key: 'ParentSeries', level: 'series' },
} as const satisfies Record<Level, { readonly key: string; readonly level: Level } | undefined>;

const CHILDREN = {
  patients: { key: 'Studies', level: 'studies' },
  studies: { key: 'Series', level: 'series' },
  series: { key: 'Instances', level: 'instances' },
  instances: undefined,
} as const satisfies Record<Level, { readonly key: string; readonly level: Level } | undefined>;

/** @returns undefined for a patient and for a missing resource */
export async function parentOf(
  api: OrthancApi,
  { level, id }: Resource,
): Promise<Resource | undefined> {
  const parent = PARENTS[level];
  if (parent === undefined) return undefined;
  const parentId = field(await api.get(`/${level}/${id}`), parent.key);
  return typeof parentId === 'string' ? { level: parent.level, id: parentId } : undefined;
}

/** From the patient down. */
export async function parentsOf(api: OrthancApi, resource: Resource): Promise<readonly Resource[]> {
  const parent = await parentOf(api, resource);
  return parent === undefined ? [] : [...(await parentsOf(api, parent)), parent];
}

/** The resource and all below it, always in the same order. */
export async function descendantsOf(
  api: OrthancApi,
  resource: Resource,
): Promise<readonly Resource[]> {
  const children = CHILDREN[resource.level];
  if (children === undefined) return [resource];
  const ids = field(await api.get(`/${resource.level}/${resource.id}`), children.key);
  const all: Resource[] = [resource];
  for (const id of (Array.isArray(ids) ? ids : []).map(String).toSorted()) {
    // Not one push with all: a call takes some 120,000 arguments at most.
    for (const below of await descendantsOf(api, { level: children.level, id })) all.push(below);
  }
  return all;
}

/** The resource's own attachments; none for a missing resource. */
export async function attachmentsOf(
  api: OrthancApi,
  resource: Resource,
): Promise<readonly IndexedAttachment[]> {
  const path = `/${resource.level}/${resource.id}/attachments`;
  const names = await api.get(path);
  const found: IndexedAttachment[] = [];
  for (const name of (Array.isArray(names) ? names : []).map(String)) {
    const info = await api.get(`${path}/${encodeURIComponent(name)}/info`);
    const attachment = toAttachment(resource, name, info);
    if (attachment !== undefined) found.push(attachment);
  }
  return found;
}

export function toAttachment(
  resource: Resource,
  name: string,
  info: unknown,
): IndexedAttachment | undefined {
  const uuid = field(info, 'Uuid');
  const contentType = field(info, 'ContentType');
  const contentBytes = Number(field(info, 'CompressedSize'));
  if (typeof uuid !== 'string' || typeof contentType !== 'number' || Number.isNaN(contentBytes)) {
    return undefined;
  }
  const md5 = field(info, 'CompressedMD5');
  return {
    resource,
    name,
    uuid,
    contentType,
    contentBytes,
    md5Hex: typeof md5 === 'string' && md5 !== '' ? md5 : undefined,
  };
}

export function field(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Readonly<Record<string, unknown>>)[key]
    : undefined;
}

/** For sorting versions such as Orthanc's "1.12.7". "mainline" comes last. */
export function compareVersions(left: string, right: string): number {
  const leftParts = partsOf(left);
  const rightParts = partsOf(right);
  for (let i = 0; i < Math.max(leftParts.length, rightParts.length); i += 1) {
    const difference = (leftParts[i] ?? 0) - (rightParts[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function partsOf(version: string): readonly number[] {
  return version.split('.').map((part) => {
    const number = Number.parseInt(part, 10);
    return Number.isNaN(number) ? Number.MAX_SAFE_INTEGER : number;
  });
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Object keys, which are the same as in the C++ plugins (docs/formats.md).

import type { NamingSettings } from '../config/settings.ts';
import { StorageError } from '../errors.ts';

/** OrthancPluginContentType. Orthanc gives user-defined attachments to plugins as Unknown. */
export const ContentType = {
  Unknown: 0,
  Dicom: 1,
  DicomAsJson: 2,
  DicomUntilPixelData: 3,
} as const;

export type ContentType = (typeof ContentType)[keyof typeof ContentType];

export interface ParsedKey {
  readonly uuid: string;
  /** undefined in the legacy structure, and for `.unk` with EnableLegacyUnknownFiles. */
  readonly contentType: ContentType | undefined;
  /** undefined in the legacy structure, where only the object's header tells. */
  readonly encrypted: boolean | undefined;
}

// Orthanc writes lower case; its own check (Toolbox::IsUuid) accepts both.
const UUID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$/;
const UUID_CHARACTERS = 36;
const FLAT_EXTENSION = /^(\.dcm\.head|\.dcm|\.json|\.unk)(\.enc)?$/;

const ENCRYPTED_EXTENSION = '.enc';
const EXTENSIONS = {
  [ContentType.Unknown]: '.unk',
  [ContentType.Dicom]: '.dcm',
  [ContentType.DicomAsJson]: '.json',
  [ContentType.DicomUntilPixelData]: '.dcm.head',
} as const satisfies Record<ContentType, string>;
const CONTENT_TYPES = Object.values(ContentType);

/** The layout of Orthanc's own StorageDirectory. */
export const ORTHANC_NAMING: NamingSettings = {
  rootPath: '',
  structure: 'legacy',
  legacyUnknownFiles: false,
};

/** User-defined types (1024 and above) and types of later versions are Unknown. */
export function contentTypeOf(orthancNumber: number): ContentType {
  return CONTENT_TYPES.find((type) => type === orthancNumber) ?? ContentType.Unknown;
}

/** The key for writes, which reads try first.
 *  @throws StorageError INTERNAL if `uuid` is none: it becomes part of a path */
export function objectKey(
  uuid: string,
  contentType: ContentType,
  naming: NamingSettings,
  encrypted: boolean,
): string {
  if (!UUID.test(uuid)) {
    throw new StorageError('INTERNAL', 'Orthanc gave a file name that is not a uuid');
  }
  const folder = folderOf(naming);
  // No extension in the legacy structure, not even `.enc`, as in the C++ plugin's BaseStorage::GetPath (2.5.4).
  if (naming.structure === 'legacy') return `${folder}${legacyName(uuid)}`;
  return `${folder}${uuid}${EXTENSIONS[contentType]}${encrypted ? ENCRYPTED_EXTENSION : ''}`;
}

/** All keys that an attachment may have; the first is `objectKey`. @throws as `objectKey` */
export function keysOf(
  uuid: string,
  contentType: ContentType,
  naming: NamingSettings,
  encrypted: boolean,
): readonly string[] {
  const mayBeUnknown =
    naming.legacyUnknownFiles &&
    naming.structure === 'flat' &&
    contentType === ContentType.DicomUntilPixelData;
  const types = mayBeUnknown ? [contentType, ContentType.Unknown] : [contentType];
  return types.map((type) => objectKey(uuid, type, naming, encrypted));
}

/** The prefix of all keys. */
export function folderOf({ rootPath }: NamingSettings): string {
  return rootPath === '' ? '' : `${rootPath}/`;
}

/** The reverse of `keysOf`.
 *  @returns undefined for a key that these settings never make */
export function parseKey(key: string, naming: NamingSettings): ParsedKey | undefined {
  const folder = folderOf(naming);
  if (!key.startsWith(folder)) return undefined;
  const name = key.slice(folder.length);
  return naming.structure === 'legacy' ? parseLegacyName(name) : parseFlatName(name, naming);
}

function legacyName(uuid: string): string {
  return `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;
}

function parseLegacyName(name: string): ParsedKey | undefined {
  const uuid = name.slice(-UUID_CHARACTERS);
  if (!UUID.test(uuid) || name !== legacyName(uuid)) return undefined;
  return { uuid, contentType: undefined, encrypted: undefined };
}

function parseFlatName(name: string, naming: NamingSettings): ParsedKey | undefined {
  const uuid = name.slice(0, UUID_CHARACTERS);
  const [, extension, encrypted] = FLAT_EXTENSION.exec(name.slice(UUID_CHARACTERS)) ?? [];
  if (extension === undefined || !UUID.test(uuid)) return undefined;
  const type = CONTENT_TYPES.find((known) => EXTENSIONS[known] === extension);
  const mayBeHead = type === ContentType.Unknown && naming.legacyUnknownFiles;
  return { uuid, contentType: mayBeHead ? undefined : type, encrypted: encrypted !== undefined };
}

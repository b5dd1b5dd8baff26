// SPDX-License-Identifier: GPL-3.0-or-later
// (uuid, content type) ⇄ object key. The keys are those of the C++ plugins to the byte: docs/formats.md has the rules.

import type { NamingSettings } from '../config/settings.ts';
import { StorageError } from '../errors.ts';

/** Orthanc's numbers (OrthancPluginContentType). Orthanc hands user-defined attachments to a plugin as Unknown. */
export const ContentType = {
  Unknown: 0,
  Dicom: 1,
  DicomAsJson: 2,
  DicomUntilPixelData: 3,
} as const;

export type ContentType = (typeof ContentType)[keyof typeof ContentType];

export interface ParsedKey {
  readonly uuid: string;
  /** undefined in the legacy structure, and for `.unk` where that may be one of two types. */
  readonly contentType: ContentType | undefined;
  /** undefined in the legacy structure: only the object's header tells. */
  readonly encrypted: boolean | undefined;
}

// Orthanc writes lower case, but its own check (Toolbox::IsUuid) takes both.
const UUID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$/;
const UUID_CHARACTERS = 36;
const FLAT_EXTENSION = /^(\.dcm\.head|\.dcm|\.json|\.unk)(\.enc)?$/;

const UNKNOWN_EXTENSION = '.unk';
const ENCRYPTED_EXTENSION = '.enc';
const EXTENSIONS = {
  [ContentType.Unknown]: UNKNOWN_EXTENSION,
  [ContentType.Dicom]: '.dcm',
  [ContentType.DicomAsJson]: '.json',
  [ContentType.DicomUntilPixelData]: '.dcm.head',
} as const satisfies Record<ContentType, string>;

/** How Orthanc itself lays out its StorageDirectory. */
export const ORTHANC_NAMING: NamingSettings = {
  rootPath: '',
  structure: 'legacy',
  legacyUnknownFiles: false,
};

/** User-defined types, from 1024 on, and types of later versions are Unknown. */
export function contentTypeOf(orthancNumber: number): ContentType {
  switch (orthancNumber) {
    case ContentType.Dicom:
    case ContentType.DicomAsJson:
    case ContentType.DicomUntilPixelData:
      return orthancNumber;
    default:
      return ContentType.Unknown;
  }
}

/** The name under which an attachment is written, and read first.
 *  @throws StorageError INTERNAL for what is no uuid: it becomes part of a path */
export function objectKey(
  uuid: string,
  contentType: ContentType,
  naming: NamingSettings,
  encrypted: boolean,
): string {
  return keyWithExtension(uuid, EXTENSIONS[contentType], naming, encrypted);
}

/** The names that reads and removes try after `objectKey`; usually none. @throws as `objectKey` */
export function alternateKeys(
  uuid: string,
  contentType: ContentType,
  naming: NamingSettings,
  encrypted: boolean,
): readonly string[] {
  const mayBeUnknown =
    naming.legacyUnknownFiles &&
    naming.structure === 'flat' &&
    contentType === ContentType.DicomUntilPixelData;
  return mayBeUnknown ? [keyWithExtension(uuid, UNKNOWN_EXTENSION, naming, encrypted)] : [];
}

/** All names that an attachment may have, the first one as `objectKey`. @throws as `objectKey` */
export function keysOf(
  uuid: string,
  contentType: ContentType,
  naming: NamingSettings,
  encrypted: boolean,
): readonly string[] {
  return [
    objectKey(uuid, contentType, naming, encrypted),
    ...alternateKeys(uuid, contentType, naming, encrypted),
  ];
}

/** The prefix of all keys. */
export function folderOf({ rootPath }: NamingSettings): string {
  return rootPath === '' ? '' : `${rootPath}/`;
}

/** The reverse of `objectKey` and `alternateKeys`.
 *  @returns undefined for a key that these settings do not make */
export function parseKey(key: string, naming: NamingSettings): ParsedKey | undefined {
  const folder = folderOf(naming);
  if (!key.startsWith(folder)) return undefined;
  const name = key.slice(folder.length);
  return naming.structure === 'legacy' ? parseLegacyName(name) : parseFlatName(name, naming);
}

function keyWithExtension(
  uuid: string,
  extension: string,
  naming: NamingSettings,
  encrypted: boolean,
): string {
  if (!UUID.test(uuid)) {
    throw new StorageError('INTERNAL', 'Orthanc gave a file name that is not a uuid');
  }
  const folder = folderOf(naming);
  // No extension in the legacy structure, not even `.enc`, as in the C++ plugin's BaseStorage::GetPath (2.5.4).
  if (naming.structure === 'legacy') {
    return `${folder}${legacyName(uuid)}`;
  }
  return `${folder}${uuid}${extension}${encrypted ? ENCRYPTED_EXTENSION : ''}`;
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
  return {
    uuid,
    contentType: contentTypeOfExtension(extension, naming),
    encrypted: encrypted !== undefined,
  };
}

function contentTypeOfExtension(
  extension: string,
  naming: NamingSettings,
): ContentType | undefined {
  switch (extension) {
    case EXTENSIONS[ContentType.Dicom]:
      return ContentType.Dicom;
    case EXTENSIONS[ContentType.DicomAsJson]:
      return ContentType.DicomAsJson;
    case EXTENSIONS[ContentType.DicomUntilPixelData]:
      return ContentType.DicomUntilPixelData;
    default:
      return naming.legacyUnknownFiles ? undefined : ContentType.Unknown;
  }
}

// SPDX-License-Identifier: GPL-3.0-or-later

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ContentType,
  contentTypeOf,
  keysOf,
  objectKey,
  parseKey,
} from '../../../src/attachments/naming.ts';
import type { NamingSettings } from '../../../src/config/settings.ts';

const UUID = 'e1f2a3b4-0000-4000-8000-0123456789ab';

const naming = (changes: Partial<NamingSettings> = {}): NamingSettings => ({
  rootPath: '',
  structure: 'flat',
  legacyUnknownFiles: false,
  ...changes,
});

// What BaseStorage::GetPath of the C++ plugins (2.5.4) makes of the same input; docs/formats.md has the same table.
describe('the keys of the C++ plugins', () => {
  test.each([
    ['', 'flat', ContentType.Dicom, false, `${UUID}.dcm`],
    ['', 'flat', ContentType.Dicom, true, `${UUID}.dcm.enc`],
    ['', 'flat', ContentType.DicomAsJson, false, `${UUID}.json`],
    ['', 'flat', ContentType.DicomAsJson, true, `${UUID}.json.enc`],
    ['', 'flat', ContentType.DicomUntilPixelData, false, `${UUID}.dcm.head`],
    ['', 'flat', ContentType.DicomUntilPixelData, true, `${UUID}.dcm.head.enc`],
    ['', 'flat', ContentType.Unknown, false, `${UUID}.unk`],
    ['', 'flat', ContentType.Unknown, true, `${UUID}.unk.enc`],
    ['hospital/a', 'flat', ContentType.Dicom, false, `hospital/a/${UUID}.dcm`],
    ['a/', 'flat', ContentType.Dicom, false, `a//${UUID}.dcm`],
    ['', 'legacy', ContentType.Dicom, false, `e1/f2/${UUID}`],
    ['', 'legacy', ContentType.Dicom, true, `e1/f2/${UUID}`],
    ['', 'legacy', ContentType.DicomUntilPixelData, false, `e1/f2/${UUID}`],
    ['hospital/a', 'legacy', ContentType.Unknown, false, `hospital/a/e1/f2/${UUID}`],
  ] as const)(
    'root "%s", %s, type %i, encrypted %s: %s',
    (rootPath, structure, type, encrypted, key) => {
      expect(objectKey(UUID, type, naming({ rootPath, structure }), encrypted)).toBe(key);
    },
  );
});

describe('content types', () => {
  test.each([
    [0, ContentType.Unknown],
    [1, ContentType.Dicom],
    [2, ContentType.DicomAsJson],
    [3, ContentType.DicomUntilPixelData],
    [4, ContentType.Unknown],
    [1023, ContentType.Unknown],
    [1024, ContentType.Unknown],
    [65535, ContentType.Unknown],
    [-1, ContentType.Unknown],
    [Number.NaN, ContentType.Unknown],
  ])('Orthanc says %d', (orthancNumber, contentType) => {
    expect(contentTypeOf(orthancNumber)).toBe(contentType);
  });
});

describe('alternate keys', () => {
  const alternateKeys = (...request: Parameters<typeof keysOf>) => keysOf(...request).slice(1);
  const legacyUnknownFiles = true;
  const head = ContentType.DicomUntilPixelData;

  test('headers may lie under .unk, where the user says so', () => {
    expect(alternateKeys(UUID, head, naming({ legacyUnknownFiles }), false)).toEqual([
      `${UUID}.unk`,
    ]);
    expect(alternateKeys(UUID, head, naming({ legacyUnknownFiles, rootPath: 'a' }), true)).toEqual([
      `a/${UUID}.unk.enc`,
    ]);
  });

  test('nothing else has one', () => {
    expect(alternateKeys(UUID, head, naming(), false)).toEqual([]);
    for (const type of [ContentType.Unknown, ContentType.Dicom, ContentType.DicomAsJson]) {
      expect(alternateKeys(UUID, type, naming({ legacyUnknownFiles }), false)).toEqual([]);
    }
  });

  test('the legacy structure has one key for all types', () => {
    const legacy = naming({ legacyUnknownFiles, structure: 'legacy' });
    expect(alternateKeys(UUID, head, legacy, false)).toEqual([]);
  });
});

describe('what is no uuid never becomes part of a key', () => {
  test.each([
    '',
    '..',
    '../../etc/passwd',
    UUID.slice(1),
    `${UUID}0`,
    ` ${UUID}`,
    `${UUID}\n`,
    UUID.replaceAll('-', ''),
    UUID.replace('e', 'g'),
  ])('%j', (uuid) => {
    for (const structure of ['flat', 'legacy'] as const) {
      expect(() => objectKey(uuid, ContentType.Dicom, naming({ structure }), false)).toThrow(
        expect.objectContaining({ code: 'INTERNAL' }),
      );
    }
    const legacyUnknownFiles = naming({ legacyUnknownFiles: true });
    expect(() => keysOf(uuid, ContentType.DicomUntilPixelData, legacyUnknownFiles, false)).toThrow(
      expect.objectContaining({ code: 'INTERNAL' }),
    );
  });
});

describe('keys and back', () => {
  const settings = fc.record({
    rootPath: fc.oneof(
      fc.constant(''),
      fc
        .array(fc.stringMatching(/^[^/\p{Cc}]{1,8}$/u), { minLength: 1, maxLength: 3 })
        .map((parts) => parts.join('/')),
    ),
    structure: fc.constantFrom('flat', 'legacy'),
    legacyUnknownFiles: fc.boolean(),
  });
  const type = fc.constantFrom(...Object.values(ContentType));

  test('parseKey undoes objectKey', () => {
    fc.assert(
      fc.property(
        fc.uuid(),
        type,
        settings,
        fc.boolean(),
        (uuid, contentType, names, encrypted) => {
          const parsed = parseKey(objectKey(uuid, contentType, names, encrypted), names);
          const isOpen =
            names.structure === 'legacy' ||
            (contentType === ContentType.Unknown && names.legacyUnknownFiles);
          expect(parsed).toEqual({
            uuid,
            contentType: isOpen ? undefined : contentType,
            encrypted: names.structure === 'legacy' ? undefined : encrypted,
          });
        },
      ),
    );
  });

  test('two attachments never share a key in the flat structure', () => {
    fc.assert(
      fc.property(
        fc.uuid(),
        fc.uuid(),
        type,
        type,
        fc.boolean(),
        (a, b, typeA, typeB, encrypted) => {
          const [keyA, keyB] = [
            objectKey(a, typeA, naming(), encrypted),
            objectKey(b, typeB, naming(), encrypted),
          ];
          expect(keyA === keyB).toBe(a === b && typeA === typeB);
        },
      ),
    );
  });

  test.each([
    [naming(), `e1/f2/${UUID}`],
    [naming(), `a/${UUID}.dcm`],
    [naming(), UUID],
    [naming(), `${UUID}.DCM`],
    [naming(), `${UUID}.dcm.enc.enc`],
    [naming(), `${UUID}.dcm\n`],
    [naming(), 'readme.txt'],
    [naming({ rootPath: 'a' }), `${UUID}.dcm`],
    [naming({ rootPath: 'a' }), `b/${UUID}.dcm`],
    [naming({ rootPath: 'a' }), `ab/${UUID}.dcm`],
    [naming({ rootPath: 'a' }), `a/b/${UUID}.dcm`],
    [naming({ structure: 'legacy' }), `${UUID}.dcm`],
    [naming({ structure: 'legacy' }), `f2/f2/${UUID}`],
    [naming({ structure: 'legacy' }), `e1/e1/${UUID}`],
    [naming({ structure: 'legacy' }), `e1/f2/${UUID}.dcm`],
  ])('%j does not own %j', (names, key) => {
    expect(parseKey(key, names)).toBeUndefined();
  });
});

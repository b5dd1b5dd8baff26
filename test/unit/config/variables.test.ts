// SPDX-License-Identifier: GPL-3.0-or-later
// Each setting can be written as a variable of the official image, which makes its name of the variable's words.

import { expect, test } from 'vitest';
import { renderJsonSchema } from '../../../src/config/docs.ts';
import { PROVIDERS } from '../../../src/providers/index.ts';
import { settingOf } from '../../support/image-variables.ts';

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
}

const { properties = {} } = JSON.parse(renderJsonSchema(PROVIDERS)) as Schema;

function pathsOf(schema: Schema): readonly (readonly string[])[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => [
    [name],
    ...pathsOf(inner).map((path) => [name, ...path]),
  ]);
}

const variableOf = (path: readonly string[]) =>
  `ORTHANC__${path.map((name) => name.replace(/(?<!^)(?=[A-Z])/g, '_').toUpperCase()).join('__')}`;

test.each(Object.keys(properties).filter((name) => name.endsWith('Storage')))('%s', (section) => {
  const paths = pathsOf({ properties: { [section]: properties[section] ?? {} } });
  expect(paths.length).toBeGreaterThan(20);
  for (const path of paths) expect(settingOf(variableOf(path))).toEqual(path);
});

test('for example', () => {
  expect(variableOf(['AwsS3Storage', 'LocalCache', 'MaxSize'])).toBe(
    'ORTHANC__AWS_S3_STORAGE__LOCAL_CACHE__MAX_SIZE',
  );
});

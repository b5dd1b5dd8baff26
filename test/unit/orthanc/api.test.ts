// SPDX-License-Identifier: GPL-3.0-or-later

import { expect, test } from 'vitest';
import {
  createOrthancApi,
  descendantsOf,
  NOT_CALLED,
  type OrthancApi,
} from '../../../src/orthanc/api.ts';

test('all that is below a patient, also of a series with very many instances', async () => {
  const instances = Array.from({ length: 200_000 }, (_, index) => String(index));
  const api: OrthancApi = {
    get: (path) =>
      Promise.resolve(
        {
          '/patients/p': { Studies: ['s'] },
          '/studies/s': { Series: ['r'] },
          '/series/r': { Instances: instances },
        }[path],
      ),
  };
  const family = await descendantsOf(api, { level: 'patients', id: 'p' });
  expect(family).toHaveLength(3 + instances.length);
  expect(family.slice(0, 3).map(({ id }) => id)).toEqual(['p', 's', 'r']);
});

test('an Orthanc that is stopping is no Orthanc without the resource', async () => {
  const api = createOrthancApi(() =>
    Promise.resolve({ status: NOT_CALLED, body: Buffer.from('') }),
  );
  await expect(api.get('/patients/p')).rejects.toMatchObject({ code: 'CLOSED' });
});

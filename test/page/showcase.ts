// SPDX-License-Identifier: GPL-3.0-or-later
// An Orthanc with all that the page can show, and clients that use it for two minutes, which the page takes for an hour.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { bundle, createWorld, type World } from '../support/world.ts';
import { writeTimeLapse } from './time-lapse.ts';

const PATIENTS = ['Doe^Jane', 'Müller^Hans', 'Ångström^Anders', 'Nguyễn^An', 'García^Lucía'];
const FILES = 60;
const LAPSE_MS = 120_000;

export interface Showcase {
  readonly world: World;
  readonly orthanc: Orthanc;
  /** Works for the rest of the two minutes. */
  work(): Promise<void>;
  close(): Promise<void>;
}

export async function createShowcase(): Promise<Showcase> {
  const world = await createWorld();
  const at = (name: string) => join(world.folder, name);
  const storage = at('storage');
  for (const folder of [storage, at('cache')]) await mkdir(folder);
  for (const id of [1, 2]) {
    await writeFile(at(`key${id}`), Buffer.alloc(32, id).toString('base64'), { mode: 0o600 });
  }
  const lapse = at('lapse.cjs');
  await writeTimeLapse(lapse, bundle, LAPSE_MS);
  // As stores on the other side of a network.
  world.proxy.setFault(() => ({ kind: 'delay', ms: 8 + 40 * Math.random() ** 4 }));
  const startedMs = performance.now();
  const orthanc = await world.start('showcase', {
    environment: { ORTHANC_OBJECT_STORAGE_BUNDLE: lapse },
    configuration: {
      StorageDirectory: storage,
      MaximumStorageCacheSize: 0,
      OverwriteInstances: true,
      ...world.configure({
        RootPath: 'radiology',
        HybridMode: 'WriteToObjectStorage',
        DeleteInBackground: true,
        LocalCache: { Directory: at('cache'), MaxSize: 10, WriteBack: true },
        StorageEncryption: {
          Format: 'A2',
          MasterKey: [2, at('key2')],
          PreviousMasterKeys: [[1, at('key1')]],
        },
      }),
    },
  });
  const instances: string[] = [];
  const fileOf = (index: number) =>
    makeDicom({
      sopInstanceUid: `1.2.826.0.1.${index}`,
      patientId: `P-${1000 + (index % PATIENTS.length)}`,
      patientName: PATIENTS[index % PATIENTS.length] ?? '',
      study: { date: '20261127', description: 'CT thorax' },
      pixelBytes: 60_000 + 9000 * (index % 40),
    });

  async function once(index: number): Promise<void> {
    const one = instances[Math.floor(Math.random() ** 2 * instances.length)];
    if (instances.length < FILES || index % 4 === 0) {
      const { ID } = await orthanc.upload(fileOf(index % (FILES + 20)));
      if (!instances.includes(ID)) instances.push(ID);
    } else if (one !== undefined) {
      await orthanc.request('GET', `/instances/${one}/${index % 3 === 0 ? 'tags' : 'file'}`);
    }
  }

  return {
    world,
    orthanc,
    async work() {
      let index = 0;
      while (performance.now() - startedMs < LAPSE_MS) {
        // Busy and quiet times of a day.
        const seconds = (performance.now() - startedMs) / 1000;
        const clients = Math.round(2.2 + 1.6 * Math.sin(seconds / 9) + Math.sin(seconds / 2.3));
        await Promise.all(Array.from({ length: clients }, (_, client) => once(index + client)));
        index += clients;
        // Alone: what is read while it is removed is not found, which counts as a failure.
        const last = index % 5 === 0 && instances.length >= FILES ? instances.shift() : undefined;
        if (last !== undefined) await orthanc.request('DELETE', `/instances/${last}`);
        await sleep(40);
      }
    },
    close: () => world.close(),
  };
}

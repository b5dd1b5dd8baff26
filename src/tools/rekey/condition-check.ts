// SPDX-License-Identifier: GPL-3.0-or-later

import { randomBytes } from 'node:crypto';
import { toStorageError } from '../../errors.ts';
import { bodyOf } from '../../store/bodies.ts';
import type { ObjectStore } from '../../store/object-store.ts';

/** @returns whether the server heeds `onlyIfVersion`: some that speak S3 ignore it */
export type ConditionCheck = (signal: AbortSignal) => Promise<boolean>;

/** Asks the server once; what failed is asked again.
 *  @param folder where an object of our own may be, which goes again
 *  @param onUnconditional told once, where it does not */
export function createConditionCheck(
  store: Pick<ObjectStore, 'put' | 'head' | 'delete'>,
  folder: string,
  onUnconditional: () => void,
): ConditionCheck {
  let asked: Promise<boolean> | undefined;

  async function ask(signal: AbortSignal): Promise<boolean> {
    try {
      const isHeeded = await heedsVersions(store, folder, signal);
      if (!isHeeded) onUnconditional();
      return isHeeded;
    } catch (error) {
      asked = undefined;
      throw error;
    }
  }

  return (signal) => {
    asked ??= ask(signal);
    return asked;
  };
}

async function heedsVersions(
  store: Pick<ObjectStore, 'put' | 'head' | 'delete'>,
  folder: string,
  signal: AbortSignal,
): Promise<boolean> {
  const key = `${folder}rekey-probe-${randomBytes(8).toString('hex')}`;
  try {
    await store.put(key, bodyOf(Buffer.from('first')), { signal });
    const onlyIfVersion = (await store.head(key, { signal }))?.version;
    if (onlyIfVersion === undefined) return false;
    await store.put(key, bodyOf(Buffer.from('second')), { signal });
    await store.put(key, bodyOf(Buffer.from('third')), { signal, onlyIfVersion });
    return false;
  } catch (error) {
    if (toStorageError(error).code === 'NOT_FOUND') return true;
    throw error;
  } finally {
    // Also where the signal has ended what was before.
    await store.delete(key, { signal: new AbortController().signal });
  }
}

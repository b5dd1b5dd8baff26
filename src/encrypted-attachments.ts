// SPDX-License-Identifier: GPL-3.0-or-later
// Attachments in an object store, encrypted: beside those that were stored before encryption was switched on, or after it was
// switched off.

import { type Attachment, type AttachmentStore, firstFound } from './attachments.ts';
import type { NamingSettings } from './config/settings.ts';
import type { Envelope } from './encryption/envelope.ts';
import { alternateKeys, objectKey } from './naming.ts';
import type { ObjectStore } from './store/object-store.ts';

/** A name that an object may have, and what its content then is. */
interface Candidate {
  readonly key: string;
  /** 'either' in the legacy structure, whose names do not tell: each object's first bytes do. */
  readonly content: 'encrypted' | 'plain' | 'either';
}

/** Writes by the envelope's format, encrypted or not; reads by each object's name and header. The name that new objects get is
 *  tried first, so that another request is needed only for objects from before the switch. */
export function createEncryptedAttachmentStore(deps: {
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  readonly envelope: Envelope;
}): AttachmentStore {
  const { store, naming, envelope } = deps;
  const isOn = envelope.format !== undefined;

  function keysOf(
    { uuid, contentType }: Attachment,
    encrypted: boolean,
  ): readonly [string, ...string[]] {
    return [
      objectKey(uuid, contentType, naming, encrypted),
      ...alternateKeys(uuid, contentType, naming, encrypted),
    ];
  }

  function candidatesOf(attachment: Attachment): readonly [Candidate, ...Candidate[]] {
    const [first, ...others] = keysOf(attachment, isOn);
    if (naming.structure === 'legacy') return [{ key: first, content: 'either' }];
    const named = (key: string, encrypted: boolean): Candidate => ({
      key,
      content: encrypted ? 'encrypted' : 'plain',
    });
    return [
      named(first, isOn),
      ...others.map((key) => named(key, isOn)),
      ...keysOf(attachment, !isOn).map((key) => named(key, !isOn)),
    ];
  }

  return {
    async put(attachment, body, options) {
      const [key] = keysOf(attachment, isOn);
      if (isOn) await envelope.put(store, key, body, attachment, options);
      else await store.put(key, body, options);
      return key;
    },

    async get(attachment, range, sink, options) {
      const candidates = candidatesOf(attachment);
      // No bytes need no request, and no store can be asked for them.
      if (range !== undefined && range.start === range.end) {
        sink.begin(0, 0);
        return candidates[0].key;
      }
      const found = await firstFound(candidates, ({ key, content }) =>
        content === 'plain'
          ? store.get(key, range, sink, options)
          : envelope.get(store, key, range, sink, attachment, {
              signal: options.signal,
              plain: content === 'either' ? 'accept' : 'refuse',
            }),
      );
      return found.key;
    },

    async remove(attachment, options) {
      const candidates = candidatesOf(attachment);
      // Side by side: a store does not tell whether there was something to remove, and Orthanc waits under its index's lock.
      await Promise.all(candidates.map(({ key }) => store.delete(key, options)));
      return candidates[0].key;
    },

    async find(attachment, options) {
      for (const { key } of candidatesOf(attachment)) {
        const head = await store.head(key, options);
        if (head !== undefined) return { key, storedBytes: head.sizeBytes };
      }
      return undefined;
    },
  };
}

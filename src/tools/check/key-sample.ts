// SPDX-License-Identifier: GPL-3.0-or-later
// Some of the objects in a bucket against the keys that are configured: whether they could be read. A listing of all may take hours;
// what one page of it has, and ten seconds, are enough to find keys that were forgotten.

import { setMaxListeners } from 'node:events';
import { contentTypeOf, folderOf, type ParsedKey, parseKey } from '../../attachments/naming.ts';
import type { Envelope } from '../../encryption/envelope.ts';
import { detectFormat, looksEncrypted } from '../../encryption/header.ts';
import { type Head, readHead } from '../../encryption/inspect.ts';
import { A2_HEADER_BYTES, keyIdOf } from '../../encryption/sizes.ts';
import { codeAndMessage, StorageError, toStorageError } from '../../errors.ts';
import { linkSignals, untilAborted } from '../../store/abort.ts';
import { NOWHERE } from '../../store/bodies.ts';
import { forEachAtOnce } from '../../store/limit.ts';
import type { ObjectInfo, OperationOptions } from '../../store/object-store.ts';
import type { Side } from '../common/sides.ts';

/** One page of the providers' listings. Names begin with random digits: the first ones are of any age. */
const LISTED_MAX = 1_000;
const LOOKED_AT_MAX = 100;
const AT_ONCE = 8;
const TIMEOUT_MS = 10_000;
/** Of A1, only the whole object tells: of each, and of all together. */
const WHOLE_MAX_BYTES = 1024 * 1024;
const WHOLES_MAX_BYTES = 16 * 1024 * 1024;

export interface KeySample {
  lookedAt: number;
  plain: number;
  /** One for each id and problem. */
  readonly findings: readonly KeyFinding[];
  /** In words: why no more, or nothing, could be looked at. */
  readonly failure: string | undefined;
}

export interface KeyFinding {
  /** No key has that id, or another one than it was encrypted with. Of A1 the latter may also be a damaged object. */
  readonly kind: 'missing' | 'wrong';
  readonly keyId: number;
  count: number;
  /** The first of their keys, in the order of the alphabet: two runs name the same one. */
  example: string;
}

/** Writes nothing. */
export async function sampleKeys(
  side: Pick<Side, 'store' | 'naming'>,
  envelope: Envelope | undefined,
  options: OperationOptions,
): Promise<KeySample> {
  const { store, naming } = side;
  const findings = new Map<string, KeyFinding>();
  let lookedAt = 0;
  let plain = 0;
  let wholeBytes = 0;
  let failure: string | undefined;
  const link = linkSignals(options.signal);
  const { signal } = link.controller;
  setMaxListeners(0, signal);
  const timer = setTimeout(() => {
    const seconds = TIMEOUT_MS / 1000;
    link.controller.abort(new StorageError('TIMEOUT', `no more within ${seconds} s`));
  }, TIMEOUT_MS);
  try {
    await untilAborted(lookAtSome(), signal);
  } catch (error) {
    if (options.signal.aborted) throw error;
    failure = describe(error);
  } finally {
    clearTimeout(timer);
    link.release();
  }
  const sorted = [...findings.values()].sort((a, b) => (a.example < b.example ? -1 : 1));
  return { lookedAt, plain, findings: sorted, failure };

  async function lookAtSome(): Promise<void> {
    const listed: (readonly [ObjectInfo, ParsedKey])[] = [];
    let count = 0;
    for await (const object of store.list(folderOf(naming), { signal })) {
      const parsed = parseKey(object.key, naming);
      if (parsed !== undefined) listed.push([object, parsed]);
      count += 1;
      if (count === LISTED_MAX) break;
    }
    const step = Math.max(1, listed.length / LOOKED_AT_MAX);
    const picked = Array.from(
      { length: Math.min(listed.length, LOOKED_AT_MAX) },
      (_, index) => listed[Math.floor(index * step)],
    );
    await forEachAtOnce(picked, AT_ONCE, async (one) => {
      if (one === undefined) return;
      try {
        await lookAt(...one);
      } catch (error) {
        // One may have been deleted meanwhile, or lie in an archive: that is no reason to know nothing of the others.
        if (signal.aborted) throw error;
        if (toStorageError(error).code !== 'NOT_FOUND') failure ??= describe(error);
      }
    });
  }

  async function lookAt(object: ObjectInfo, parsed: ParsedKey): Promise<void> {
    const { key, sizeBytes } = object;
    if (parsed.encrypted === false || sizeBytes < A2_HEADER_BYTES) {
      lookedAt += 1;
      plain += 1;
      return;
    }
    const head = await readHead(store, key, { signal });
    lookedAt += 1;
    if (!isSealed(head, parsed)) {
      plain += 1;
      return;
    }
    const kind = await tryKey(object, parsed, head);
    if (kind !== 'missing' && kind !== 'wrong') return;
    const keyId = keyIdOf(head.bytes);
    const finding = findings.get(`${kind} ${keyId}`) ?? { kind, keyId, count: 0, example: key };
    finding.count += 1;
    if (key < finding.example) finding.example = key;
    findings.set(`${kind} ${keyId}`, finding);
  }

  function isSealed(head: Head, { encrypted }: ParsedKey): boolean {
    if (encrypted === true) return detectFormat(head.bytes) !== undefined;
    return (
      envelope?.looksEncrypted(head) ?? looksEncrypted(head.bytes, head.totalBytes, () => false)
    );
  }

  async function tryKey({ key, sizeBytes }: ObjectInfo, parsed: ParsedKey, head: Head) {
    const told = envelope?.tryKey(head) ?? 'missing';
    if (told !== 'untold' || envelope === undefined) return told;
    if (sizeBytes > WHOLE_MAX_BYTES || wholeBytes + sizeBytes > WHOLES_MAX_BYTES) return told;
    wholeBytes += sizeBytes;
    const identity = { ...parsed, contentType: contentTypeOf(parsed.contentType ?? 0) };
    try {
      await envelope.get(store, key, undefined, NOWHERE, identity, { signal, plain: 'refuse' });
    } catch (error) {
      if (toStorageError(error).code !== 'INTEGRITY') throw error;
      return 'wrong';
    }
    return 'right';
  }
}

function describe(error: unknown): string {
  return codeAndMessage(toStorageError(error));
}

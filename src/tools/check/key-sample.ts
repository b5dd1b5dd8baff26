// SPDX-License-Identifier: GPL-3.0-or-later
// Whether the configured keys can read the objects in the bucket. A listing of the whole bucket may take hours. One page of it, and ten
// seconds, are enough to find forgotten keys.

import { contentTypeOf, folderOf, type ParsedKey, parseKey } from '../../attachments/naming.ts';
import type { NamingSettings } from '../../config/settings.ts';
import type { Envelope } from '../../encryption/envelope.ts';
import { detectFormat, looksEncrypted } from '../../encryption/header.ts';
import { type Head, readHead } from '../../encryption/inspect.ts';
import { A2_HEADER_BYTES, keyIdOf } from '../../encryption/sizes.ts';
import { codeAndMessage, StorageError, toStorageError } from '../../errors.ts';
import { NOWHERE } from '../../store/bodies.ts';
import { withTimeLimit } from '../../store/deadline.ts';
import { forEachAtOnce } from '../../store/limit.ts';
import type { ObjectInfo, ObjectStore, OperationOptions } from '../../store/object-store.ts';
import type { Side } from '../common/sides.ts';

/** One page of a listing. Names begin with random digits, so the page has objects of any age. */
const LISTED_MAX = 1_000;
const LOOKED_AT_MAX = 100;
const AT_ONCE = 8;
const TIMEOUT_MS = 10_000;
/** An A1 object must be read as a whole to try its key. These limits hold for one object, and for all together. */
const WHOLE_MAX_BYTES = 1024 * 1024;
const WHOLES_MAX_BYTES = 16 * 1024 * 1024;

export interface KeySample {
  readonly lookedAt: number;
  readonly plain: number;
  /** One for each key id and problem. */
  readonly findings: readonly KeyFinding[];
  /** Why some or all objects could not be looked at. */
  readonly failure: string | undefined;
}

export interface KeyFinding {
  /** Missing: no key has the id. Wrong: the key with this id does not decrypt the object, or the object is A1 and damaged. */
  readonly kind: 'missing' | 'wrong';
  readonly keyId: number;
  count: number;
  /** The first name in the alphabet, so that two runs show the same one. */
  example: string;
}

export async function sampleKeys(
  side: Pick<Side, 'store' | 'naming'>,
  envelope: Envelope | undefined,
): Promise<KeySample> {
  return await new Sampler(side, envelope).sample();
}

class Sampler {
  readonly #store: ObjectStore;
  readonly #naming: NamingSettings;
  readonly #envelope: Envelope | undefined;
  readonly #findings = new Map<string, KeyFinding>();
  #lookedAt = 0;
  #plain = 0;
  #wholeBytes = 0;
  #failure: string | undefined;

  constructor({ store, naming }: Pick<Side, 'store' | 'naming'>, envelope: Envelope | undefined) {
    this.#store = store;
    this.#naming = naming;
    this.#envelope = envelope;
  }

  async sample(): Promise<KeySample> {
    const look = (signal: OperationOptions['signal']) => this.#lookAtSome({ signal });
    try {
      await withTimeLimit(TIMEOUT_MS, new AbortController().signal, look, {
        describe: () => new StorageError('TIMEOUT', `no more within ${TIMEOUT_MS / 1000} s`),
      });
    } catch (error) {
      this.#failure = codeAndMessage(toStorageError(error));
    }
    const findings = [...this.#findings.values()].sort((a, b) => (a.example < b.example ? -1 : 1));
    return { lookedAt: this.#lookedAt, plain: this.#plain, findings, failure: this.#failure };
  }

  async #lookAtSome(options: OperationOptions): Promise<void> {
    const listed: (readonly [ObjectInfo, ParsedKey])[] = [];
    let count = 0;
    for await (const object of this.#store.list(folderOf(this.#naming), options)) {
      const parsed = parseKey(object.key, this.#naming);
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
        await this.#lookAt(...one, options);
      } catch (error) {
        // The object may be deleted meanwhile, or be in an archive. The others are still looked at.
        if (options.signal.aborted) throw error;
        if (toStorageError(error).code !== 'NOT_FOUND')
          this.#failure ??= codeAndMessage(toStorageError(error));
      }
    });
  }

  async #lookAt(object: ObjectInfo, parsed: ParsedKey, options: OperationOptions): Promise<void> {
    const { key, sizeBytes } = object;
    if (parsed.encrypted === false || sizeBytes < A2_HEADER_BYTES) {
      this.#lookedAt += 1;
      this.#plain += 1;
      return;
    }
    const head = await readHead(this.#store, key, options);
    this.#lookedAt += 1;
    if (!this.#isEncrypted(head, parsed)) {
      this.#plain += 1;
      return;
    }
    const kind = await this.#tryKey(object, parsed, head, options);
    if (kind !== 'missing' && kind !== 'wrong') return;
    const keyId = keyIdOf(head.bytes);
    const name = `${kind} ${keyId}`;
    const finding = this.#findings.get(name) ?? { kind, keyId, count: 0, example: key };
    finding.count += 1;
    if (key < finding.example) finding.example = key;
    this.#findings.set(name, finding);
  }

  #isEncrypted(head: Head, { encrypted }: ParsedKey): boolean {
    if (encrypted === true) return detectFormat(head.bytes) !== undefined;
    return (
      this.#envelope?.looksEncrypted(head) ??
      looksEncrypted(head.bytes, head.totalBytes, () => false)
    );
  }

  async #tryKey(
    { key, sizeBytes }: ObjectInfo,
    parsed: ParsedKey,
    head: Head,
    { signal }: OperationOptions,
  ) {
    const result = this.#envelope?.tryKey(head) ?? 'missing';
    if (result !== 'untold' || this.#envelope === undefined) return result;
    if (sizeBytes > WHOLE_MAX_BYTES || this.#wholeBytes + sizeBytes > WHOLES_MAX_BYTES)
      return result;
    this.#wholeBytes += sizeBytes;
    const identity = { ...parsed, contentType: contentTypeOf(parsed.contentType ?? 0) };
    const options = { signal, plain: 'refuse' } as const;
    try {
      await this.#envelope.get(this.#store, key, undefined, NOWHERE, identity, options);
    } catch (error) {
      if (toStorageError(error).code !== 'INTEGRITY') throw error;
      return 'wrong';
    }
    return 'right';
  }
}

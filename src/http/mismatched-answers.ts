// SPDX-License-Identifier: GPL-3.0-or-later
// Mismatched answers: the store's own, but to another request. Gateways that answer twice or mix up their connections give them. A write
// that such an answer "acknowledges" would be lost, and a read would show another patient.

import { createHash } from 'node:crypto';
import { StorageError } from '../errors.ts';
import { TransportError } from './transport.ts';
import { oneLine } from './words.ts';

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i;
const MAX_TOLD = 80;

/** An object's name in its own metadata: the uuid in the last part of its key, which is the same in both structures, under any RootPath and
 *  in a copy of the bucket; for other keys a digest. It is short, ASCII, and says nothing of a patient. */
export function nameOf(key: string): string {
  return uuidOf(key) ?? createHash('sha256').update(lastPartOf(key)).digest('hex');
}

/** @returns undefined for a key that is none of the plugin's own */
export function uuidOf(key: string): string | undefined {
  return UUID.exec(lastPartOf(key))?.[0].toLowerCase();
}

function lastPartOf(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}

/** @param told as the server writes it. Servers encode keys, or put the bucket before them, so that only the uuid counts
 *  @throws TransportError for the key of another object */
export function refuseOtherKey(key: string, told: string | undefined): void {
  refuseOther('key', uuidOf(key), uuidOf(told ?? ''));
}

/** @param told the name in the object's metadata; objects of other programs have none
 *  @param server for the message: "S3"
 *  @throws StorageError INTEGRITY for another object */
export function refuseOtherObject(key: string, told: string | undefined, server: string): void {
  if (told === undefined || told === nameOf(key)) return;
  throw new StorageError(
    'INTEGRITY',
    `${server} answered for "${key}" with an object that was stored as "${oneLine(told, MAX_TOLD)}", by its own metadata: a proxy or gateway between mixes answers up, or another tool copied that object to this name; copy it to one that has the same uuid`,
    { key },
  );
}

/** The ids of the last answers, and the number of each's connection; undefined: several, as with servers that give all answers the same id
 *  (S3Proxy). */
const connectionOf = new Map<string, number | undefined>();
/** Connections by number rather than by WeakRef, of which each answer would need a new one. */
const numbers = new WeakMap<object, number>();
let lastNumber = 0;
const KEPT_IDS = 1_000;
/** Emulators have shorter ids, which may be the same for all answers. */
const MIN_ID_LENGTH = 16;

/** An answer with an id that came before over the same connection is that answer again. Ids that come over several connections are ignored.
 *  @throws TransportError */
export function refuseRepetition(connection: object, id: string | undefined): void {
  if (id === undefined || id.length < MIN_ID_LENGTH) return;
  const number = numbers.get(connection) ?? ++lastNumber;
  numbers.set(connection, number);
  const isKnown = connectionOf.has(id);
  if (isKnown && connectionOf.get(id) === number) refuse('an earlier one came again');
  // Behind all others: the first one is that which has not come for the longest time.
  connectionOf.delete(id);
  connectionOf.set(id, isKnown ? undefined : number);
  if (connectionOf.size <= KEPT_IDS) return;
  const [oldest = ''] = connectionOf.keys();
  connectionOf.delete(oldest);
}

export function refuse(words: string): never {
  throw new TransportError('MISMATCHED_ANSWER', words, true, undefined);
}

/** @throws TransportError if the answer tells something else than the request said. What either leaves out is not compared */
export function refuseOther(
  what: string,
  sent: string | undefined,
  told: string | undefined,
): void {
  if (sent === undefined || told === undefined || sent === told) return;
  refuse(`its ${what} is another one`);
}

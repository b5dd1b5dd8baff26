// SPDX-License-Identifier: GPL-3.0-or-later
// Mismatched answers: the store's own, but to another request. Gateways that answer twice or mix up their connections give them. A write
// that such an answer "acknowledges" would be lost, and a read would show another patient.

import { createHash } from 'node:crypto';
import { StorageError } from '../errors.ts';
import { TransportError } from './transport.ts';
import { oneLine } from './words.ts';

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i;
const MAX_TOLD = 80;

/** What an object is called in its own metadata: the uuid in the last part of its key, which stays the same in both structures, under any
 *  RootPath and in a copy of the bucket; of other keys a digest. Short, ASCII, and nothing of a patient, whatever the key is. */
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

/** @param told in the words of a server, which writes keys as they are, encoded, or with the bucket before them: the uuid counts
 *  @throws TransportError for another object's */
export function refuseOtherKey(key: string, told: string | undefined): void {
  refuseOther('key', uuidOf(key), uuidOf(told ?? ''));
}

/** @param told what the object is called in its metadata; objects of other programs have nothing there
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

/** The numbers of the last answers, and the connection that each came by; undefined: by several, as of servers that give all answers the
 *  same one (S3Proxy). */
const connectionOf = new Map<string, WeakRef<object> | undefined>();
const KEPT_IDS = 1_000;
/** Shorter ones are those of emulators, and may be the same for all. */
const MIN_ID_LENGTH = 16;

/** Servers number their answers: one whose number came before, by the same connection, is that one again. A number that comes by another
 *  connection too is none.
 *  @throws TransportError */
export function refuseRepetition(connection: object, id: string | undefined): void {
  if (id === undefined || id.length < MIN_ID_LENGTH) return;
  const isKnown = connectionOf.has(id);
  if (isKnown && connectionOf.get(id)?.deref() === connection) refuse('an earlier one came again');
  // Behind all others: the first one is that which has not come for the longest time.
  connectionOf.delete(id);
  connectionOf.set(id, isKnown ? undefined : new WeakRef(connection));
  if (connectionOf.size <= KEPT_IDS) return;
  const [oldest = ''] = connectionOf.keys();
  connectionOf.delete(oldest);
}

export function refuse(words: string): never {
  throw new TransportError('MISMATCHED_ANSWER', words, true, undefined);
}

/** @throws TransportError where the answer tells something else than the request said; what either leaves out is not compared */
export function refuseOther(
  what: string,
  sent: string | undefined,
  told: string | undefined,
): void {
  if (sent === undefined || told === undefined || sent === told) return;
  refuse(`its ${what} is another one`);
}

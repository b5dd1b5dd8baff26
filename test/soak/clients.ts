// SPDX-License-Identifier: GPL-3.0-or-later
// Clients that use one Orthanc all the time, and know what it must answer.

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { type MoveContent, md5 } from '../support/archive.ts';
import { makeDicom } from '../support/dicom.ts';
import type { Answer, Orthanc, Upload } from '../support/orthanc.ts';
import { readZip } from '../support/zip.ts';

/** Bytes of pixels of the instances that a client has, from and to. The set stays the same, so that Orthanc and the bucket do not grow. */
const LARGE = [
  [20_000_000, 30_000_000],
  [2_000_000, 8_000_000],
] as const;
const SMALL = [
  ...Array.from({ length: 7 }, () => [100_000, 600_000] as const),
  ...Array.from({ length: 3 }, () => [1000, 20_000] as const),
];
/** Of a user-defined attachment. */
const ATTACHMENT_BYTES = 1000;
export const ATTACHMENT = { report: 1030 };

/** How often of 100: what is left reads a file. Large instances are taken seldom, as in an archive. */
const SHARES = { replace: 30, tags: 25, attachment: 5, archive: 4, move: 1, large: 3 } as const;

/** Orthanc forgets some connections when it stops, and never answers them. */
const LOST_AFTER_RESET_MS = 5_000;

interface Instance {
  readonly id: string;
  readonly patient: string;
  readonly sopInstanceUid: string;
  readonly digest: string;
  readonly attachment?: Buffer;
}

/** Resets of one Orthanc, and the requests that they interrupt. */
export class Resets {
  readonly #orthanc: Orthanc;
  readonly #waiting = new Set<() => void>();
  #count = 0;
  #isUnderWay = false;
  #latest: Promise<void> = Promise.resolve();

  constructor(orthanc: Orthanc) {
    this.#orthanc = orthanc;
  }

  /** That have begun. */
  get count(): number {
    return this.#count;
  }

  get isUnderWay(): boolean {
    return this.#isUnderWay;
  }

  /** Ends a moment after Orthanc has started again. */
  async reset(): Promise<void> {
    this.#count += 1;
    this.#isUnderWay = true;
    this.#latest = this.#restart().finally(() => {
      this.#isUnderWay = false;
    });
    await this.#latest;
    const waiting = [...this.#waiting];
    await sleep(LOST_AFTER_RESET_MS);
    for (const giveUp of waiting) giveUp();
  }

  /** @returns undefined where no answer will come */
  async answerOf(request: Promise<Answer>): Promise<Answer | undefined> {
    let giveUp = () => {};
    const lost = new Promise<undefined>((resolve) => {
      giveUp = () => {
        resolve(undefined);
      };
    });
    this.#waiting.add(giveUp);
    try {
      return await Promise.race([request.catch(() => undefined), lost]);
    } finally {
      this.#waiting.delete(giveUp);
    }
  }

  /** Waits until no reset is under way. */
  async over(): Promise<void> {
    await this.#latest;
  }

  async #restart(): Promise<void> {
    await this.#orthanc.request('POST', '/tools/reset', '');
    await this.#orthanc.hasStarted(this.#count + 1);
  }
}

export interface ClientDependencies {
  readonly orthanc: Orthanc;
  readonly resets: Resets;
  /** Its patients and instances are named after it. */
  readonly number: number;
  readonly onAnswer: (ms: number) => void;
  /** A reset interrupted a request, which is repeated. */
  readonly onRepetition: () => void;
}

export class Client {
  readonly #deps: ClientDependencies;
  /** In the order of LARGE and SMALL. */
  readonly #instances: Instance[] = [];
  #made = 0;
  #target = 'file-system';

  constructor(deps: ClientDependencies) {
    this.#deps = deps;
  }

  /** How many files Orthanc keeps for it. */
  get attachments(): number {
    return this.#instances.reduce((sum, { attachment }) => sum + (attachment ? 2 : 1), 0);
  }

  async fill(): Promise<void> {
    for (let slot = 0; slot < LARGE.length + SMALL.length; slot += 1) await this.#store(slot);
  }

  /** One thing that users do. @throws where the answer is not the right one */
  async work(): Promise<void> {
    const isLarge = Math.random() * 100 < SHARES.large;
    const slot = isLarge
      ? Math.floor(Math.random() * LARGE.length)
      : LARGE.length + Math.floor(Math.random() * SMALL.length);
    const instance = this.#instances[slot];
    if (instance === undefined) throw new Error(`no instance ${slot}`);
    let chance = Math.random() * 100;
    for (const [share, task] of [
      [SHARES.replace, () => this.#replace(slot, instance)],
      [SHARES.tags, () => this.#readTags(instance)],
      [SHARES.attachment, () => this.#attach(slot, instance)],
      [SHARES.archive, () => this.#readArchive()],
      [SHARES.move, () => this.#move()],
    ] as const) {
      if (chance < share) return await task();
      chance -= share;
    }
    await this.#readFile(instance);
  }

  /** Reads everything that was acknowledged. @throws where it is not there */
  async check(): Promise<void> {
    for (const instance of this.#instances) {
      await this.#readFile(instance);
      if (instance.attachment !== undefined) await this.#readAttachment(instance);
    }
  }

  async #store(slot: number): Promise<void> {
    const { number } = this.#deps;
    const [least, most] = [...LARGE, ...SMALL][slot] ?? [0, 0];
    this.#made += 1;
    const sopInstanceUid = `1.2.17.${number}.${this.#made}`;
    const file = makeDicom({
      sopInstanceUid,
      patientId: `${slot < LARGE.length ? 'LARGE' : 'SMALL'}-${number}`,
      pixelBytes: least + Math.floor(Math.random() * (most - least)),
    });
    const { body } = await this.#ask('POST', '/instances', file);
    const upload = JSON.parse(body.toString()) as Upload;
    this.#instances[slot] = {
      id: upload.ID,
      patient: upload.ParentPatient,
      sopInstanceUid,
      digest: md5(file),
    };
  }

  async #replace(slot: number, { id }: Instance): Promise<void> {
    await this.#ask('DELETE', `/instances/${id}`);
    await this.#store(slot);
  }

  async #readFile({ id, digest }: Instance): Promise<void> {
    const { body } = await this.#ask('GET', `/instances/${id}/file`);
    if (md5(body) !== digest) throw new Error(`instance ${id} has other bytes`);
  }

  async #readTags({ id, sopInstanceUid }: Instance): Promise<void> {
    const { body } = await this.#ask('GET', `/instances/${id}/simplified-tags`);
    const tags = JSON.parse(body.toString()) as { readonly SOPInstanceUID?: string };
    if (tags.SOPInstanceUID !== sopInstanceUid) throw new Error(`instance ${id} has other tags`);
  }

  async #attach(slot: number, instance: Instance): Promise<void> {
    const attachment = randomBytes(ATTACHMENT_BYTES);
    await this.#ask('PUT', `/instances/${instance.id}/attachments/report`, attachment);
    const attached = { ...instance, attachment };
    this.#instances[slot] = attached;
    await this.#readAttachment(attached);
  }

  async #readAttachment({ id, attachment }: Instance): Promise<void> {
    const { body } = await this.#ask('GET', `/instances/${id}/attachments/report/data`);
    if (attachment?.equals(body) !== true) {
      throw new Error(`the attachment of ${id} has other bytes`);
    }
  }

  async #readArchive(): Promise<void> {
    const small = this.#instances.slice(LARGE.length);
    const { body } = await this.#ask('GET', `/patients/${small[0]?.patient}/archive`);
    const digests = [...readZip(body).values()].map(md5).toSorted();
    const expected = small.map(({ digest }) => digest).toSorted();
    if (digests.join() !== expected.join()) throw new Error('an archive has other files');
  }

  async #move(): Promise<void> {
    const Resources = [this.#instances.at(-1)?.patient];
    const request = JSON.stringify({ Resources, TargetStorage: this.#target });
    const { body } = await this.#ask('POST', '/move-storage', request);
    const { Failed, Failures } = JSON.parse(body.toString()) as MoveContent;
    if (Failed > 0) throw new Error(`a move failed: ${JSON.stringify(Failures).slice(0, 500)}`);
    this.#target = this.#target === 'file-system' ? 'object-storage' : 'file-system';
  }

  /** Repeats what a reset has interrupted. @throws where anything else keeps it from success */
  async #ask(method: string, path: string, body?: string | Uint8Array): Promise<Answer> {
    const { orthanc, resets, onAnswer, onRepetition } = this.#deps;
    for (let repetition = 0; ; repetition += 1) {
      await resets.over();
      const { count } = resets;
      const startedMs = performance.now();
      const answer = await resets.answerOf(orthanc.request(method, path, body));
      // A reset also ends archives in the middle, as if they were whole.
      if (resets.count === count) {
        // It may have been deleted before the answer was lost.
        const isGone = method === 'DELETE' && answer?.status === 404 && repetition > 0;
        if (answer?.status !== 200 && !isGone) {
          const what =
            answer === undefined ? 'no answer' : `${answer.status} ${answer.body.toString()}`;
          throw new Error(`${method} ${path}: ${what.slice(0, 500)}`);
        }
        onAnswer(performance.now() - startedMs);
        return answer;
      }
      onRepetition();
    }
  }
}

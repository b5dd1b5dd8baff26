// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { type Box, ensureBox } from '../../scripts/lib/box.mjs';
import type { LocalCacheStatus } from '../../src/local/local-cache.ts';
import { hashOf, pathOf } from '../../src/local/names.ts';
import { makeDicom } from '../support/dicom.ts';
import { type Configuration, type Orthanc, startOrthanc } from '../support/orthanc.ts';
import { boxName, plugin } from '../support/world.ts';
import { medianOf } from './measure.ts';
import { sectionOf } from './orthanc/columns.ts';
import { REST_SECONDS } from './orthanc/measure.ts';
import { readMemoryMb } from './orthanc/processes.ts';
import { makeTemplate, type Template } from './orthanc/templates.ts';
import { type BenchStore, ensureTools, runLoad, startBenchStore } from './orthanc/tools.ts';

interface Plan {
  /** What is compared takes turns. */
  readonly rounds: number;
  /** Of each request to the store. */
  readonly delayMs: number;
}

/** As many, and about as large, as in the figures of the C++ plugins' documentation. */
const SMALL_FILES = 1635;
const SMALL_BYTES = 20_000;
const READS = 1000;
const CLIENTS = [1, 8];
const CACHED = 100_000;
const CACHED_BYTES = 500_000;
/** In MB: more than all that is cached. */
const MAX_SIZE = 1024 * 1024;

export async function main(plan: Plan): Promise<void> {
  const box = await ensureBox(boxName);
  const folder = await mkdtemp(join(tmpdir(), 'oos-bench-'));
  const program = await ensureTools();
  const store = await startBenchStore(program, folder);
  try {
    const bench = new LocalBench(plan, box, folder, { program, store });
    await bench.printSmallFiles();
    for (const size of ['10k', '512k'] as const) {
      const template = await makeTemplate(folder, size);
      for (const isSynchronous of [true, false]) {
        for (const clients of CLIENTS) await bench.printWriteBack(template, isSynchronous, clients);
      }
      if (size === '512k') {
        for (const clients of CLIENTS) await bench.printColdReads(template, clients);
      }
    }
    await bench.printStarts();
  } finally {
    await store.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

class LocalBench {
  readonly #plan: Plan;
  readonly #box: Box;
  readonly #folder: string;
  readonly #store: BenchStore;
  /** Of the store in memory and of the clients. */
  readonly #program: string;
  #started = 0;

  constructor(
    plan: Plan,
    box: Box,
    folder: string,
    tools: {
      readonly program: string;
      readonly store: BenchStore;
    },
  ) {
    this.#plan = plan;
    this.#box = box;
    this.#folder = folder;
    this.#store = tools.store;
    this.#program = tools.program;
  }

  async printSmallFiles(): Promise<void> {
    const folderSeconds: number[] = [];
    const cacheSeconds: number[] = [];
    for (let round = 0; round < this.#plan.rounds; round++) {
      for (const [seconds, orthanc] of [
        [folderSeconds, await this.#start({})],
        [cacheSeconds, await this.#startCached({ WriteBack: true })],
      ] as const) {
        const startedMs = performance.now();
        for (let at = 0; at < SMALL_FILES; at++) {
          await orthanc.upload(
            makeDicom({ sopInstanceUid: `1.2.21.${at}`, pixelBytes: SMALL_BYTES }),
          );
        }
        seconds.push((performance.now() - startedMs) / 1000);
        await orthanc.kill();
      }
    }
    const [own, cached] = [medianOf(folderSeconds), medianOf(cacheSeconds)];
    console.log(
      `${SMALL_FILES} files of ${SMALL_BYTES / 1000} kB from one client: Orthanc's own folder ${show(own)} s, LocalCache with WriteBack ${show(cached)} s: ${show(cached / own)} times`,
    );
  }

  /** Beside Orthanc's own folder. Nothing is removed meanwhile: ext4 takes long to make a file after many have been removed. */
  async printWriteBack(template: Template, isSynchronous: boolean, clients: number): Promise<void> {
    const SyncStorageArea = isSynchronous;
    const rates = { folder: makeRates(), cache: makeRates() };
    for (let round = 0; round < this.#plan.rounds; round++) {
      for (const [kind, orthanc] of [
        ['folder', await this.#start({ SyncStorageArea })],
        ['cache', await this.#startCached({ WriteBack: true }, { SyncStorageArea })],
      ] as const) {
        for (const operation of ['POST', 'file'] as const) {
          const { count, seconds } = await this.#load(orthanc, template, operation, clients);
          rates[kind][operation].push(count / seconds);
          if (kind === 'cache') await waitUntilUploaded(orthanc);
        }
        await orthanc.kill();
      }
    }
    const describe = (operation: 'POST' | 'file') => {
      const [own, cached] = [medianOf(rates.folder[operation]), medianOf(rates.cache[operation])];
      return `${show(own)} and ${show(cached)} (${show(cached / own)})`;
    };
    console.log(
      `${READS} instances of ${template.name}, ${clients} clients, ${isSynchronous ? 'with' : 'without'} fsync, operations per second of Orthanc's own folder and of LocalCache: POST ${describe('POST')}, GET again ${describe('file')}`,
    );
  }

  async printColdReads(template: Template, clients: number): Promise<void> {
    const without: number[] = [];
    const cold: number[] = [];
    const again: number[] = [];
    for (let round = 0; round < this.#plan.rounds; round++) {
      const plain = await this.#start(sectionOf('s3', this.#endpoint, {}), [plugin]);
      await this.#storeCold(plain, template);
      without.push(await this.#readAll(plain, template, clients));
      await plain.kill();
      const orthanc = await this.#startCached({ WriteBack: false });
      await this.#storeCold(orthanc, template);
      cold.push(await this.#readAll(orthanc, template, clients));
      again.push(await this.#readAll(orthanc, template, clients));
      await orthanc.kill();
    }
    const [base, first] = [medianOf(without), medianOf(cold)];
    console.log(
      `${READS} reads of 512 kB, ${clients} at once: without a cache ${show(base)} ms each, with it cold ${show(first)} ms (${show(first / base)} times), again ${show(medianOf(again))} ms`,
    );
  }

  async printStarts(): Promise<void> {
    const full = await this.#makeDirectory();
    const first = await this.#startCached({ WriteBack: true, Directory: full });
    await first.stop(); // Now it is this bucket's.
    const timeMs = Date.now();
    for (let at = 0; at < CACHED; at++) {
      const hash = hashOf(`object ${at}`);
      const file = { kind: 'cached', hash, sequence: at, sizeBytes: CACHED_BYTES, timeMs } as const;
      await writeFile(join(full, pathOf(file)), '');
    }
    const figures = { empty: makeFigures(), full: makeFigures() };
    for (let round = 0; round < this.#plan.rounds; round++) {
      for (const kind of ['empty', 'full'] as const) {
        const Directory = kind === 'full' ? full : await this.#makeDirectory();
        const startedMs = performance.now();
        const orthanc = await this.#startCached({ WriteBack: true, Directory });
        figures[kind].ms.push(performance.now() - startedMs);
        figures[kind].startMb.push(readMemoryMb(orthanc.pid, 'VmRSS'));
        await sleep(REST_SECONDS * 1000);
        figures[kind].idleMb.push(readMemoryMb(orthanc.pid, 'VmRSS'));
        await orthanc.stop();
      }
    }
    const more = (figure: 'ms' | 'startMb' | 'idleMb') =>
      medianOf(figures.full[figure]) - medianOf(figures.empty[figure]);
    console.log(
      `start with ${CACHED} cached objects: ${show(more('ms'))} ms later, ${show(more('startMb'))} MB more, ${show(more('idleMb'))} MB more after ${REST_SECONDS} s`,
    );
  }

  get #endpoint(): string {
    return `http://${this.#store.address}`;
  }

  async #makeDirectory(): Promise<string> {
    const directory = join(this.#folder, `cache-${this.#started++}`);
    await mkdir(directory, { mode: 0o700 });
    return directory;
  }

  async #startCached(changes: Configuration, others: Configuration = {}): Promise<Orthanc> {
    const Directory = changes['Directory'] ?? (await this.#makeDirectory());
    const LocalCache = { Directory, MaxSize: MAX_SIZE, ...changes };
    const section = sectionOf('s3', this.#endpoint, { LocalCache });
    return await this.#start({ ...section, ...others }, [plugin]);
  }

  async #start(configuration: Configuration, plugins: readonly string[] = []): Promise<Orthanc> {
    await this.#store.reset(this.#plan.delayMs);
    return await startOrthanc({
      box: this.#box,
      folder: join(this.#folder, `orthanc-${this.#started++}`),
      configuration: { Plugins: plugins, MaximumStorageCacheSize: 0, ...configuration },
      pollMs: 5,
    });
  }

  async #storeCold(orthanc: Orthanc, template: Template): Promise<void> {
    await this.#store.reset(0);
    await this.#load(orthanc, template, 'POST', 1);
    await this.#store.reset(this.#plan.delayMs);
  }

  /** Each once. @returns ms for each, on average */
  async #readAll(orthanc: Orthanc, template: Template, clients: number): Promise<number> {
    const { seconds, count } = await this.#load(orthanc, template, 'file', clients);
    return (seconds * 1000 * clients) / count;
  }

  async #load(orthanc: Orthanc, template: Template, operation: 'POST' | 'file', clients: number) {
    return await runLoad(this.#program, {
      ...template,
      address: new URL(orthanc.url).host,
      operation,
      clients,
      seconds: 0,
      first: 0,
      count: READS,
    });
  }
}

/** So that only what is measured goes on. */
async function waitUntilUploaded(orthanc: Orthanc): Promise<void> {
  for (;;) {
    const status = (await orthanc.json('/object-storage/status')) as {
      readonly localCache: LocalCacheStatus;
    };
    if (status.localCache.pending.count === 0) return;
    await sleep(100);
  }
}

const makeRates = () => ({ POST: [] as number[], file: [] as number[] });

const makeFigures = () => ({ ms: [] as number[], startMb: [] as number[], idleMb: [] as number[] });

const show = (value: number) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);

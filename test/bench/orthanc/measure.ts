// SPDX-License-Identifier: GPL-3.0-or-later
// The rounds: each column has its turn with each number of clients, before the next round begins.

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ensureBox } from '../../../scripts/lib/box.mjs';
import { type Orthanc, startOrthanc } from '../../support/orthanc.ts';
import { boxName } from '../../support/world.ts';
import { type Column, makeColumns, type Wanted } from './columns.ts';
import {
  groupThreads,
  readMachine,
  readMemoryMb,
  readProcessMs,
  readThreads,
  type ThreadGroups,
} from './processes.ts';
import { makeTemplate, type Size, type Template } from './templates.ts';
import {
  type BenchStore,
  ensureTools,
  OPERATIONS,
  type Operation,
  type Requests,
  runLoad,
  startBenchStore,
} from './tools.ts';

/** Every combination of what it lists is measured. */
export interface Block {
  readonly sizes: readonly Size[];
  readonly delaysMs: readonly number[];
  readonly clients: readonly number[];
  readonly operations: readonly Operation[];
  readonly rounds: number;
  /** Of each measurement. */
  readonly seconds: number;
}

export interface Plan {
  readonly wanted: Wanted;
  readonly blocks: readonly Block[];
  /** How often each column is started to see how long that takes. */
  readonly starts: number;
}

/** One operation in one round. Times are ms. */
export interface Round {
  readonly count: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  /** Per operation, of Orthanc and its plugin. */
  readonly cpuMs: number;
  readonly threads: ThreadGroups;
  /** Per operation, of the store and the clients. */
  readonly storeCpuMs: number;
  readonly clientCpuMs: number;
  /** Per operation. */
  readonly requests: Requests;
  /** The share of the machine that other processes took. */
  readonly othersShare: number;
}

export interface Cell {
  readonly column: string;
  readonly size: Size;
  readonly delayMs: number;
  readonly clients: number;
  readonly operation: Operation;
  readonly rounds: Round[];
}

export interface ColumnFigures {
  readonly name: string;
  readonly ours: Column['ours'];
  readonly startMs: readonly number[];
  readonly idleMb: number;
  /** After the first block. */
  readonly residentMb: number;
  /** After all blocks and REST_SECONDS. */
  readonly restedMb: number;
}

export interface Results {
  readonly columns: readonly ColumnFigures[];
  readonly cells: readonly Cell[];
  /** Rounds that were measured again, since others took too much of the machine. */
  readonly repeated: number;
  readonly seconds: number;
}

/** A round in which others took more is measured again, */
const MAX_OTHERS_SHARE = 0.15;
/** so many times at most, */
const MAX_REPEATS = 2;
/** and so many of all rounds: a busy machine must not make the bench endless. */
const MAX_REPEATED_SHARE = 0.15;
const SETTLE_MS = 3000;
/** V8 gives back the memory of a burst after some 25 s without one. */
export const REST_SECONDS = 40;
const WARM_UP_SECONDS = 1;
/** Of storing what an operation is measured with. */
const FILL_SECONDS = 0.3;
const FILL_CLIENTS = 8;
const POLL_MS = 5;
/** The same for all columns. Files that go to the disk go there without fsync. */
export const CONFIGURATION = {
  StorageCompression: false,
  MaximumStorageCacheSize: 0,
  SyncStorageArea: false,
};
const DICOM_WEB = '/usr/share/orthanc/plugins/libOrthancDicomWeb.so';

interface Running {
  readonly column: Column;
  readonly orthanc: Orthanc;
  /** The number of the next instance. */
  next: number;
}

/** What a sequence of operations is measured with. */
interface Turn {
  readonly size: Size;
  readonly delayMs: number;
  readonly clients: number;
  readonly operations: readonly Operation[];
  readonly seconds: number;
}

export async function measure(plan: Plan, tell: (line: string) => void): Promise<Results> {
  const box = await ensureBox(boxName);
  if (box.kind !== 'chroot') throw new Error('a container hides the process to be measured');
  const program = await ensureTools();
  const folder = await mkdtemp(join(tmpdir(), 'oos-bench-'));
  const store = await startBenchStore(program, folder);
  try {
    const keyFile = join(folder, 'master.key');
    await writeFile(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 });
    const columns = await makeColumns(plan.wanted, store, keyFile);
    return await new Bench({ plan, box, program, folder, store, columns, tell }).run();
  } finally {
    await store.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

interface Parts {
  readonly plan: Plan;
  readonly box: Awaited<ReturnType<typeof ensureBox>>;
  readonly program: string;
  readonly folder: string;
  readonly store: BenchStore;
  readonly columns: readonly Column[];
  readonly tell: (line: string) => void;
}

class Bench {
  readonly #parts: Parts;
  readonly #templates = new Map<Size, Template>();
  readonly #cells = new Map<string, Cell>();
  #turns = 0;
  #repeated = 0;
  #pids: readonly number[] = [];

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async run(): Promise<Results> {
    const { plan, columns, tell } = this.#parts;
    const begun = performance.now();
    const startMs = new Map(columns.map(({ name }) => [name, [] as number[]]));
    for (let start = 0; start <= plan.starts; start += 1) {
      for (const column of columns) {
        const before = performance.now();
        const orthanc = await this.#start(column, [], `start-${start}`);
        // The first one warms the file cache.
        if (start > 0) startMs.get(column.name)?.push(performance.now() - before);
        await orthanc.kill();
      }
    }
    const figures: ColumnFigures[] = [];
    for (const withDicomWeb of [false, true]) {
      const blocks = plan.blocks.filter(
        ({ operations }) => operations.includes('retrieve') === withDicomWeb,
      );
      if (blocks.length === 0) continue;
      const isFirst = figures.length === 0;
      const measured = await this.#withAll(withDicomWeb ? [DICOM_WEB] : [], blocks, isFirst);
      if (!isFirst) continue;
      for (const { column, ...memory } of measured) {
        const { name, ours } = column;
        figures.push({ name, ours, startMs: startMs.get(name) ?? [], ...memory });
      }
    }
    const seconds = (performance.now() - begun) / 1000;
    tell(`${Math.round(seconds)} s, ${this.#repeated} of ${this.#turns} rounds repeated`);
    return {
      columns: figures,
      cells: [...this.#cells.values()],
      repeated: this.#repeated,
      seconds,
    };
  }

  async #start(column: Column, plugins: readonly string[], name: string): Promise<Orthanc> {
    const { box, folder } = this.#parts;
    const { configuration, environment, binds } = column;
    return await startOrthanc({
      box,
      folder: join(folder, `${name}-${this.#parts.columns.indexOf(column)}`),
      configuration: {
        Plugins: [...column.plugins, ...plugins],
        ...CONFIGURATION,
        ...configuration,
      },
      environment,
      binds,
      pollMs: POLL_MS,
    });
  }

  /** Starts all columns, measures blocks with them, and ends them. */
  async #withAll(plugins: readonly string[], blocks: readonly Block[], isFirst: boolean) {
    const { columns, tell } = this.#parts;
    const running: Running[] = [];
    try {
      for (const column of columns) {
        const orthanc = await this.#start(column, plugins, `run-${plugins.length}`);
        running.push({ column, orthanc, next: 0 });
      }
      this.#pids = [this.#parts.store.pid, ...running.map(({ orthanc }) => orthanc.pid)];
      await sleep(SETTLE_MS);
      const memory = () => running.map(({ orthanc }) => readMemoryMb(orthanc.pid, 'VmRSS'));
      const idle = memory();
      for (const one of running) await this.#warmUp(one, blocks[0]);
      let resident: readonly number[] | undefined;
      for (const [index, block] of blocks.entries()) {
        tell(
          `${index + 1}/${blocks.length}: ${block.sizes.join(', ')}; ${block.operations.join(', ')}; ${block.clients.join(', ')} clients; ${block.delaysMs.join(', ')} ms`,
        );
        await this.#measureBlock(block, running);
        resident ??= memory();
      }
      if (isFirst) await sleep(REST_SECONDS * 1000);
      const rested = memory();
      return running.map(({ column }, index) => ({
        column,
        idleMb: idle[index] ?? 0,
        residentMb: resident?.[index] ?? 0,
        restedMb: rested[index] ?? 0,
      }));
    } finally {
      await Promise.all(running.map(({ orthanc }) => orthanc.kill()));
    }
  }

  /** Until code that is often run has been compiled. */
  async #warmUp(running: Running, block: Block | undefined): Promise<void> {
    if (block === undefined) return;
    const operations = OPERATIONS.filter(
      (operation) => operation !== 'retrieve' || block.operations.includes(operation),
    );
    const [size = '512k'] = block.sizes;
    const turn = { size, delayMs: 0, clients: 8, operations, seconds: WARM_UP_SECONDS };
    await this.#takeTurn(running, turn);
  }

  async #measureBlock(block: Block, running: readonly Running[]): Promise<void> {
    for (let round = 0; round < block.rounds; round += 1) {
      // Each column is as often behind each other one.
      const shift = round % running.length;
      const order = [...running.slice(shift), ...running.slice(0, shift)];
      for (const size of block.sizes) {
        for (const delayMs of block.delaysMs) {
          for (const clients of block.clients) {
            for (const one of order) {
              await this.#measureTurn(one, { ...block, size, delayMs, clients });
            }
          }
        }
      }
    }
  }

  /** Measures all operations of a turn, again where others disturbed it. The least disturbed counts. */
  async #measureTurn(running: Running, turn: Turn): Promise<void> {
    // Orthanc's own folder has no store that could be slow.
    if (turn.delayMs > 0 && running.column.plugins.length === 0) return;
    this.#turns += 1;
    const best = new Map<Operation, Round>();
    for (let attempt = 0; attempt <= MAX_REPEATS; attempt += 1) {
      for (const [operation, round] of await this.#takeTurn(running, turn)) {
        const known = best.get(operation);
        if (known === undefined || round.othersShare < known.othersShare) {
          best.set(operation, round);
        }
      }
      const isQuiet = [...best.values()].every(
        ({ othersShare }) => othersShare <= MAX_OTHERS_SHARE,
      );
      if (isQuiet || this.#repeated >= MAX_REPEATED_SHARE * this.#turns) break;
      if (attempt < MAX_REPEATS) this.#repeated += 1;
    }
    for (const [operation, round] of best) {
      const { size, delayMs, clients } = turn;
      const column = running.column.name;
      const key = JSON.stringify([column, size, delayMs, clients, operation]);
      const cell = this.#cells.get(key) ?? {
        column,
        size,
        delayMs,
        clients,
        operation,
        rounds: [],
      };
      cell.rounds.push(round);
      this.#cells.set(key, cell);
    }
  }

  /** Stores instances, does the operations with them, and removes them. */
  async #takeTurn(running: Running, turn: Turn): Promise<ReadonlyMap<Operation, Round>> {
    const rounds = new Map<Operation, Round>();
    const template = await this.#templateOf(turn.size);
    const first = running.next;
    let stored = 0;
    for (const operation of OPERATIONS) {
      const isWanted = turn.operations.includes(operation);
      if (!isWanted && operation !== 'POST' && operation !== 'DELETE') continue;
      const { round, count } = await this.#load(running, template, {
        ...turn,
        ...(isWanted ? {} : { delayMs: 0, clients: FILL_CLIENTS, seconds: FILL_SECONDS }),
        operation,
        first,
        count: operation === 'POST' ? template.maxInstances : stored,
      });
      if (operation === 'POST') stored = count;
      if (isWanted) rounds.set(operation, round);
    }
    // Whole series.
    running.next += Math.ceil(stored / template.perSeries) * template.perSeries;
    return rounds;
  }

  async #load(
    { orthanc }: Running,
    { template, ids, perSeries }: Template,
    turn: Omit<Turn, 'operations'> & {
      readonly operation: Operation;
      readonly first: number;
      readonly count: number;
    },
  ): Promise<{ round: Round; count: number }> {
    const { program, store } = this.#parts;
    const { clients, operation, seconds, first, count } = turn;
    const address = new URL(orthanc.url).host;
    const plan = { address, operation, clients, seconds, first, count, perSeries };
    const storeBefore = await store.reset(turn.delayMs);
    const threadsBefore = readThreads(orthanc.pid);
    const oursBefore = this.#readOursMs();
    const machineBefore = readMachine();
    const result = await runLoad(program, { ...plan, template, ids });
    const machine = readMachine();
    const ours = this.#readOursMs() - oursBefore + result.cpuMs;
    const threads = groupThreads(threadsBefore, readThreads(orthanc.pid));
    const figures = await store.figures();
    const each = (value: number) => value / result.count;
    const busyMs = machine.busyMs - machineBefore.busyMs;
    const totalMs = machine.totalMs - machineBefore.totalMs;
    return {
      count: result.count,
      round: {
        count: result.count,
        perSecond: result.count / result.seconds,
        p50: result.p50,
        p95: result.p95,
        p99: result.p99,
        cpuMs: each(threads.loop + threads.v8 + threads.orthanc),
        threads: {
          loop: each(threads.loop),
          v8: each(threads.v8),
          orthanc: each(threads.orthanc),
        },
        storeCpuMs: each(figures.cpuMs - storeBefore.cpuMs),
        clientCpuMs: each(result.cpuMs),
        requests: Object.fromEntries(
          Object.entries(figures.requests).map(([kind, times]) => [kind, each(times)]),
        ),
        othersShare: totalMs === 0 ? 0 : Math.max(0, busyMs - ours) / totalMs,
      },
    };
  }

  /** Of all processes of the bench but the clients, which tell it themselves. */
  #readOursMs(): number {
    const { user, system } = process.cpuUsage();
    return this.#pids.reduce((sum, pid) => sum + readProcessMs(pid), (user + system) / 1000);
  }

  async #templateOf(size: Size): Promise<Template> {
    const known = this.#templates.get(size);
    if (known !== undefined) return known;
    const template = await makeTemplate(this.#parts.folder, size);
    this.#templates.set(size, template);
    return template;
  }
}

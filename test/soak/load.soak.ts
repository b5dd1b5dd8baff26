// SPDX-License-Identifier: GPL-3.0-or-later
// Three Orthancs are in use for a long time, over a network that is not good: does what they need stay the same, do they lose anything?

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { readMemoryMb } from '../bench/orthanc/processes.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { linePlot } from '../support/plot.ts';
import type { Fault, ProxiedRequest } from '../support/store-proxy.ts';
import { createWorld, type Provider, type World } from '../support/world.ts';
import { ATTACHMENT, Client, Resets } from './clients.ts';
import { judge, type Tolerance } from './flat.ts';

export interface LoadPlan {
  readonly minutes: number;
  readonly provider: Provider;
  /** Of each Orthanc. */
  readonly clients: number;
  /** A folder for the figures and the plots. */
  readonly out: string;
}

interface Sample {
  readonly minutes: number;
  readonly residentMb: number;
  readonly descriptors: number;
  readonly threads: number;
  /** How long `status`, which the event loop answers, takes; NaN during a reset. */
  readonly loopMs: number;
  readonly loopBusy: number;
  /** Of the clients' requests since the last sample. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly requests: number;
}

interface Measure {
  readonly name: string;
  readonly unit: string;
  readonly of: (sample: Sample) => number;
  readonly tolerance: Tolerance;
}

const MEASURES: readonly Measure[] = [
  {
    name: 'resident memory',
    unit: 'MB',
    of: ({ residentMb }) => residentMb,
    tolerance: { factor: 1.05, plus: 5 },
  },
  {
    name: 'descriptors',
    unit: '',
    of: ({ descriptors }) => descriptors,
    tolerance: { factor: 1, plus: 5 },
  },
  { name: 'threads', unit: '', of: ({ threads }) => threads, tolerance: { factor: 1, plus: 2 } },
  {
    name: 'event loop',
    unit: 'ms',
    of: ({ loopMs }) => loopMs,
    tolerance: { factor: 2, plus: 5 },
  },
  {
    name: 'requests, p50',
    unit: 'ms',
    of: ({ p50Ms }) => p50Ms,
    tolerance: { factor: 2, plus: 5 },
  },
  {
    name: 'requests, p95',
    unit: 'ms',
    of: ({ p95Ms }) => p95Ms,
    tolerance: { factor: 2, plus: 20 },
  },
];

// By default, malloc raises this limit to 32 MB with the sizes that it sees, and then keeps what large contents took, more and more for
// half an hour. No leak could be told from that. @see mallopt(3), M_MMAP_THRESHOLD
const GIVES_BACK = { MALLOC_MMAP_THRESHOLD_: String(128 * 1024) };
const SAMPLES = 240;
const RESET_PAUSE_MS = 90_000;
/** During a reset. */
const NOTHING: Sample = {
  minutes: Number.NaN,
  residentMb: Number.NaN,
  descriptors: Number.NaN,
  threads: Number.NaN,
  loopMs: Number.NaN,
  loopBusy: Number.NaN,
  p50Ms: Number.NaN,
  p95Ms: Number.NaN,
  requests: 0,
};
/** After so many the run ends. */
const PROBLEMS_MAX = 20;
const MS_PER_MINUTE = 60_000;

/** @returns how many problems there were, after it has printed them */
export async function main(plan: LoadPlan): Promise<number> {
  const world = await createWorld({ provider: plan.provider });
  if (world.box.kind !== 'chroot') throw new Error('a container hides the process to be measured');
  const problems: string[] = [];
  try {
    const keyFile = join(world.folder, 'master.key');
    await writeFile(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 });
    const problem = (what: string) => {
      problems.push(what);
      console.log(`  problem: ${what}`);
    };
    const start = (name: string, encryption: object = {}) =>
      Subject.start(world, name, encryption, { plan, problem });
    const plain = await start('plain');
    const sealed = await start('A2', { MasterKey: [1, keyFile], Format: 'A2' });
    // A reset gives back what JavaScript holds, so what that leaks shows only in the others.
    const withResets = await start('resets');
    const subjects = [plain, sealed, withResets];
    await Promise.all(subjects.map((subject) => subject.fill()));
    world.proxy.setFault(faultOf);

    const startedMs = performance.now();
    const minutes = () => (performance.now() - startedMs) / MS_PER_MINUTE;
    const isOver = () => minutes() >= plan.minutes || problems.length >= PROBLEMS_MAX;
    await Promise.all([
      ...subjects.map((subject) => subject.work(isOver)),
      withResets.resetNowAndThen(isOver),
      (async () => {
        while (!isOver()) {
          await sleep((plan.minutes * MS_PER_MINUTE) / SAMPLES);
          world.proxy.forget();
          await Promise.all(subjects.map((subject) => subject.sample(minutes())));
        }
      })(),
    ]);

    world.proxy.setFault(undefined);
    for (const subject of subjects) await subject.end(world);
    await writeReport(plan, subjects, problems);
    return problems.length + subjects.reduce((sum, subject) => sum + subject.print(), 0);
  } finally {
    await world.close();
  }
}

/** One in fifty requests. All of these the plugin has to get over without its user's noticing. */
function faultOf({ method }: ProxiedRequest): Fault | undefined {
  const chance = Math.random() * 1000;
  if (chance < 4) return { kind: 'reset' };
  if (chance < 8) return { kind: 'answer', status: 503 };
  if (chance < 12 && method === 'GET') {
    const change = (body: Buffer) => body.subarray(0, body.length >> 1);
    return { kind: 'alter', announce: 'original', change };
  }
  if (chance < 20) return { kind: 'delay', ms: Math.random() * 300 };
  return undefined;
}

interface SubjectDependencies {
  readonly plan: LoadPlan;
  readonly problem: (what: string) => void;
}

/** An Orthanc and its clients. */
class Subject {
  readonly name: string;
  readonly samples: Sample[] = [];
  /** Resident memory before anything was asked. */
  readonly idleMb: number;
  requests = 0;
  repetitions = 0;
  orphans = 0;
  readonly #orthanc: Orthanc;
  readonly #deps: SubjectDependencies;
  readonly #resets: Resets;
  readonly #clients: readonly Client[];
  #answeredMs: number[] = [];

  static async start(
    world: World,
    name: string,
    StorageEncryption: object,
    deps: SubjectDependencies,
  ): Promise<Subject> {
    const folder = join(world.folder, name, 'storage');
    await mkdir(folder, { recursive: true });
    const orthanc = await world.start(name, {
      configuration: {
        ...world.configure({
          RootPath: name,
          HybridMode: 'WriteToObjectStorage',
          StorageEncryption,
        }),
        StorageDirectory: folder,
        // So that every read comes from the store, and no cache of Orthanc's grows.
        MaximumStorageCacheSize: 0,
        UserContentType: ATTACHMENT,
      },
      environment: GIVES_BACK,
    });
    return new Subject(name, orthanc, deps);
  }

  private constructor(name: string, orthanc: Orthanc, deps: SubjectDependencies) {
    this.name = name;
    this.idleMb = readMemoryMb(orthanc.pid, 'VmRSS');
    this.#orthanc = orthanc;
    this.#deps = deps;
    this.#resets = new Resets(orthanc);
    this.#clients = Array.from(
      { length: deps.plan.clients },
      (_, index) =>
        new Client({
          orthanc,
          resets: this.#resets,
          number: index,
          onAnswer: (ms) => {
            this.requests += 1;
            this.#answeredMs.push(ms);
          },
          onRepetition: () => {
            this.repetitions += 1;
          },
        }),
    );
  }

  get resets(): number {
    return this.#resets.count;
  }

  async fill(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.fill()));
  }

  async work(isOver: () => boolean): Promise<void> {
    await Promise.all(
      this.#clients.map(async (client) => {
        while (!isOver()) await this.#noting(() => client.work());
      }),
    );
  }

  async resetNowAndThen(isOver: () => boolean): Promise<void> {
    for (let lastMs = performance.now(); !isOver(); await sleep(1000)) {
      if (performance.now() - lastMs < RESET_PAUSE_MS) continue;
      await this.#noting(() => this.#resets.reset());
      lastMs = performance.now();
    }
  }

  async sample(minutes: number): Promise<void> {
    if (this.#resets.isUnderWay) {
      this.samples.push({ ...NOTHING, minutes });
      return;
    }
    const { pid } = this.#orthanc;
    const answered = this.#answeredMs.toSorted((one, other) => one - other);
    this.#answeredMs = [];
    const at = (share: number) => answered[Math.floor(share * answered.length)] ?? Number.NaN;
    this.samples.push({
      minutes,
      residentMb: readMemoryMb(pid, 'VmRSS'),
      descriptors: (await readdir(`/proc/${pid}/fd`)).length,
      threads: (await readdir(`/proc/${pid}/task`)).length,
      ...(await this.#askLoop()),
      p50Ms: at(0.5),
      p95Ms: at(0.95),
      requests: answered.length,
    });
  }

  async end(world: World): Promise<void> {
    await this.#noting(async () => {
      await Promise.all(this.#clients.map((client) => client.check()));
      const status = await this.#orthanc.stop();
      if (status !== 0) throw new Error(`at its end Orthanc ended with ${status}`);
    });
    const attachments = this.#clients.reduce((sum, client) => sum + client.attachments, 0);
    const files = await readdir(join(world.folder, this.name, 'storage'), {
      recursive: true,
      withFileTypes: true,
    });
    const objects = await world.objects(this.name);
    const there = objects.length + files.filter((file) => file.isFile()).length;
    this.orphans = there - attachments;
  }

  /** @returns how many measures were not flat */
  print(): number {
    const errors = this.#orthanc.errorsSince(0).length;
    console.log(
      `\n${this.name}: ${this.requests} requests, ${this.resets} resets, which interrupted ${this.repetitions} requests; ` +
        `${errors} errors in the log; ${this.orphans} orphans; ${this.idleMb.toFixed(0)} MB at the start; medians of the thirds:`,
    );
    return this.verdicts().filter(({ name, unit, first, middle, last, limit, flat }) => {
      const [warmUp, before, after, most] = [first, middle, last, limit].map((value) =>
        value.toFixed(1),
      );
      const isFlat = flat ? 'flat' : 'NOT FLAT';
      console.log(
        `  ${name.padEnd(16)} ${warmUp}, ${before}, ${after} ${unit} (at most ${most}): ${isFlat}`,
      );
      return !flat;
    }).length;
  }

  verdicts() {
    return MEASURES.map(({ name, unit, of, tolerance }) => ({
      name,
      unit,
      ...judge(this.samples.map(of), tolerance),
    }));
  }

  async #askLoop(): Promise<Pick<Sample, 'loopMs' | 'loopBusy'>> {
    const startedMs = performance.now();
    try {
      const status = (await this.#orthanc.json('/object-storage/status')) as {
        readonly eventLoopBusy: readonly number[];
      };
      const loopMs = performance.now() - startedMs;
      return { loopMs, loopBusy: status.eventLoopBusy[0] ?? Number.NaN };
    } catch {
      return { loopMs: Number.NaN, loopBusy: Number.NaN };
    }
  }

  async #noting(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#deps.problem(`${this.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

async function writeReport(
  plan: LoadPlan,
  subjects: readonly Subject[],
  problems: readonly string[],
): Promise<void> {
  await mkdir(plan.out, { recursive: true });
  const report = {
    plan,
    problems,
    subjects: subjects.map((subject) => ({
      name: subject.name,
      requests: subject.requests,
      resets: subject.resets,
      idleMb: subject.idleMb,
      repetitions: subject.repetitions,
      orphans: subject.orphans,
      verdicts: subject.verdicts(),
      samples: subject.samples,
    })),
  };
  await writeFile(join(plan.out, 'soak.json'), `${JSON.stringify(report, undefined, 2)}\n`);
  const x = subjects[0]?.samples.map(({ minutes }) => minutes) ?? [];
  for (const { name, unit, of } of MEASURES) {
    const plot = linePlot({
      title: `Soak: ${name}`,
      x,
      xLabel: 'minutes',
      yLabel: unit,
      series: subjects.map((subject) => ({ name: subject.name, values: subject.samples.map(of) })),
    });
    await writeFile(join(plan.out, `${name.replaceAll(/\W+/g, '-')}.svg`), plot);
  }
}

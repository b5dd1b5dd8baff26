// SPDX-License-Identifier: GPL-3.0-or-later
// Profiles of the event loop inside Orthanc, by a bundle that starts and stops V8's profilers around the real one.

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ensureBox } from '../../../scripts/lib/box.mjs';
import { startOrthanc } from '../../support/orthanc.ts';
import { boxName, bundle, type Provider } from '../../support/world.ts';
import { type Format, makeColumns } from './columns.ts';
import { CONFIGURATION } from './measure.ts';
import { makeTemplate, type Size } from './templates.ts';
import { ensureTools, type Operation, runLoad, startBenchStore } from './tools.ts';

export interface ProfilePlan {
  readonly provider: Provider;
  readonly format: Format;
  /** With LocalCache, whose WriteBack is on. */
  readonly cache: boolean;
  readonly size: Size;
  readonly clients: number;
  readonly operations: readonly Operation[];
  /** Of each profile. */
  readonly seconds: number;
  readonly folder: string;
  /** Instead of the one that has just been built. */
  readonly bundle: string | undefined;
}

/** Of V8's two profilers, as the viewers know them. */
const KINDS = ['cpuprofile', 'heapprofile'] as const;
type Kind = (typeof KINDS)[number];

const SETTLE_MS = 200;
const WRITE_LIMIT_MS = 20_000;
const SHOWN = 15;

export async function main(plan: ProfilePlan): Promise<void> {
  const box = await ensureBox(boxName);
  const program = await ensureTools();
  await mkdir(plan.folder, { recursive: true });
  const folder = await mkdtemp(join(tmpdir(), 'oos-profile-'));
  const store = await startBenchStore(program, folder);
  try {
    const keyFile = join(folder, 'master.key');
    await writeFile(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 });
    const wrapper = join(folder, 'profiled.cjs');
    const wish = join(folder, 'wish');
    await writeFile(wrapper, wrap(plan.bundle ?? bundle, wish));
    const wanted = {
      providers: [plan.provider],
      formats: [plan.format],
      lanes: [1],
      tls: false,
      bundles: [],
      others: [],
      cache: plan.cache,
      folders: [],
    };
    const column = (await makeColumns(wanted, store, keyFile)).at(-1);
    const orthanc = await startOrthanc({
      box,
      folder: join(folder, 'orthanc'),
      configuration: { Plugins: column?.plugins, ...CONFIGURATION, ...column?.configuration },
      environment: {
        ORTHANC_OBJECT_STORAGE_BUNDLE: wrapper,
        ORTHANC_OBJECT_STORAGE_INSPECTOR: '1',
      },
    });
    try {
      const template = await makeTemplate(folder, plan.size);
      const load = (operation: Operation, first: number, count: number, seconds = plan.seconds) =>
        runLoad(program, {
          ...template,
          address: new URL(orthanc.url).host,
          operation,
          clients: plan.clients,
          first,
          count,
          seconds,
        });
      let first = 0;
      for (const kind of KINDS) {
        // What is compiled late must not be a part of it.
        const { count: warm } = await load('POST', first, template.maxInstances, 1);
        for (const operation of ['file', 'tags', 'DELETE'] as const)
          await load(operation, first, warm, 1);
        first += template.maxInstances;
        let count = template.maxInstances;
        for (const operation of ['POST', 'file', 'tags', 'DELETE'] as const) {
          const name = `${operation.toLowerCase()}.${kind}`;
          const isWanted = plan.operations.includes(operation);
          if (isWanted) await writeFile(wish, join(folder, name));
          await sleep(SETTLE_MS);
          const result = await load(operation, first, count);
          if (operation === 'POST') count = result.count;
          if (!isWanted) continue;
          await writeFile(wish, '');
          await waitFor(join(folder, name));
          const target = join(plan.folder, name);
          await rename(join(folder, name), target);
          await print(operation, kind, target, result.count);
        }
        first += template.maxInstances;
      }
    } finally {
      await orthanc.kill();
    }
  } finally {
    await store.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param wish a file with the path of the profile that is wanted, or nothing */
function wrap(real: string, wish: string): string {
  return `
const real = require(${JSON.stringify(real)});
const { Session } = require('node:inspector');
const { readFileSync, renameSync, writeFileSync } = require('node:fs');
const session = new Session();
session.connect();
const post = (method, parameters) => {
  let answer;
  session.post(method, parameters, (error, result) => {
    if (error) throw new Error(method + ': ' + error.message);
    answer = result;
  });
  return answer;
};
let current = '';
const look = () => {
  let wanted = '';
  try { wanted = readFileSync(${JSON.stringify(wish)}, 'utf8'); } catch {}
  if (wanted === current) return;
  if (current !== '') {
    const method = current.endsWith('.cpuprofile') ? 'Profiler.stop' : 'HeapProfiler.stopSampling';
    writeFileSync(current + '.partial', JSON.stringify(post(method).profile));
    renameSync(current + '.partial', current);
  }
  current = wanted;
  if (current.endsWith('.cpuprofile')) {
    post('Profiler.enable');
    post('Profiler.setSamplingInterval', { interval: 200 });
    post('Profiler.start');
  } else if (current !== '') {
    // Also what has been collected again: garbage is the point.
    post('HeapProfiler.startSampling', {
      samplingInterval: 4096,
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    });
  }
};
exports.main = (binding) => {
  setInterval(look, 50).unref();
  return real.main(binding);
};
`;
}

async function waitFor(file: string): Promise<void> {
  const deadline = performance.now() + WRITE_LIMIT_MS;
  while (!existsSync(file)) {
    if (performance.now() > deadline) throw new Error(`${file} was not written`);
    await sleep(SETTLE_MS);
  }
}

interface CallFrame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}

interface CpuProfile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: CallFrame }[];
  readonly samples: readonly number[];
  /** µs. */
  readonly timeDeltas: readonly number[];
}

interface HeapNode {
  readonly callFrame: CallFrame;
  readonly selfSize: number;
  readonly children: readonly HeapNode[];
}

/** Prints the functions that take most by themselves, per operation. */
async function print(operation: Operation, kind: Kind, file: string, count: number): Promise<void> {
  const profile: unknown = JSON.parse(await readFile(file, 'utf8'));
  const costs =
    kind === 'cpuprofile'
      ? timesOf(profile as CpuProfile)
      : sizesOf((profile as { readonly head: HeapNode }).head);
  const unit = kind === 'cpuprofile' ? 'µs' : 'bytes';
  const shown = [...costs].filter(([name]) => !name.startsWith('(idle)'));
  const total = shown.reduce((sum, [, cost]) => sum + cost, 0);
  console.log(`\n${operation}: ${Math.round(total / count)} ${unit} each. ${file}`);
  for (const [name, cost] of shown.toSorted(([, a], [, b]) => b - a).slice(0, SHOWN)) {
    console.log(`  ${(cost / count).toFixed(1).padStart(10)} ${unit}  ${name}`);
  }
}

function timesOf({ nodes, samples, timeDeltas }: CpuProfile): ReadonlyMap<string, number> {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, describe(callFrame)]));
  const costs = new Map<string, number>();
  samples.forEach((id, index) => {
    const name = frames.get(id) ?? '';
    costs.set(name, (costs.get(name) ?? 0) + (timeDeltas[index] ?? 0));
  });
  return costs;
}

function sizesOf(head: HeapNode): ReadonlyMap<string, number> {
  const costs = new Map<string, number>();
  const add = ({ callFrame, selfSize, children }: HeapNode) => {
    const name = describe(callFrame);
    costs.set(name, (costs.get(name) ?? 0) + selfSize);
    for (const child of children) add(child);
  };
  add(head);
  return costs;
}

function describe({ functionName, url, lineNumber }: CallFrame): string {
  const place = url === '' ? '' : ` ${url.replace(/^.*\//, '')}:${lineNumber + 1}`;
  return `${functionName === '' ? '(anonymous)' : functionName}${place}`;
}

// SPDX-License-Identifier: GPL-3.0-or-later
// The two ends of the bench, which are written in Go (test/bench/tools): the store in memory, and the clients.

import type { ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { inProject } from '../../../scripts/lib/paths.mjs';
import { freePort } from '../../../scripts/lib/ports.mjs';
import { run, spawnGuarded, stopProcess } from '../../../scripts/lib/run.mjs';
import { ensureGoProgram } from '../../../scripts/lib/servers.mjs';
import { makeCertificate } from '../../support/certificate.ts';

/** By kind: put, get, range, head, delete, list, part, other. */
export type Requests = Readonly<Record<string, number>>;

export interface BenchStore {
  /** Host and port. */
  readonly address: string;
  /** Of the same store over TLS. */
  readonly tls: { readonly address: string; readonly certificateFile: string };
  readonly pid: number;
  /** Counts from 0 again. @param delayMs of each answer from now on */
  reset(delayMs: number): Promise<StoreFigures>;
  figures(): Promise<StoreFigures>;
  stop(): Promise<void>;
}

export interface StoreFigures {
  readonly requests: Requests;
  readonly cpuMs: number;
}

export const OPERATIONS = ['POST', 'file', 'tags', 'archive', 'retrieve', 'DELETE'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** As test/bench/tools/load.go takes it. */
export interface LoadPlan {
  readonly address: string;
  readonly operation: Operation;
  readonly clients: number;
  readonly seconds: number;
  readonly first: number;
  readonly count: number;
  readonly perSeries: number;
  readonly template: string;
  readonly ids: Readonly<Record<'patient' | 'study' | 'series' | 'instance', string>>;
}

export interface LoadResult {
  readonly count: number;
  readonly seconds: number;
  /** Of the clients themselves. */
  readonly cpuMs: number;
  /** Latencies in ms. */
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

const START_LIMIT_MS = 10_000;

export const ensureTools = (): Promise<string> =>
  ensureGoProgram('bench-tools', inProject('test', 'bench', 'tools'));

/** @param folder for its certificate */
export async function startBenchStore(program: string, folder: string): Promise<BenchStore> {
  const [port, tlsPort] = [await freePort(), await freePort()];
  const address = `127.0.0.1:${port}`;
  const certificateFile = join(folder, 'store.pem');
  const keyFile = join(folder, 'store.key');
  const { cert, key } = makeCertificate();
  await writeFile(certificateFile, cert);
  await writeFile(keyFile, key, { mode: 0o600 });
  const overTls = [
    '--tls-port',
    String(tlsPort),
    '--certificate',
    certificateFile,
    '--key',
    keyFile,
  ];
  const argv = [program, 'store', '--port', String(port), ...overTls];
  const child: ChildProcess = spawnGuarded(argv, { stdio: 'inherit' });
  const ask = async (method: string, query = '') => {
    const response = await fetch(`http://${address}/-/figures${query}`, { method });
    return (await response.json()) as StoreFigures;
  };
  const deadline = performance.now() + START_LIMIT_MS;
  for (;;) {
    const isReady = await ask('GET').then(
      () => true,
      () => false, // nobody listens yet
    );
    if (isReady) break;
    if (performance.now() > deadline) throw new Error('the store in memory does not start');
    await sleep(20);
  }
  return {
    address,
    tls: { address: `127.0.0.1:${tlsPort}`, certificateFile },
    pid: child.pid ?? 0,
    reset: (delayMs) => ask('POST', `?delay=${delayMs}`),
    figures: () => ask('GET'),
    stop: () => stopProcess(child),
  };
}

/** @throws where one request failed */
export async function runLoad(program: string, plan: LoadPlan): Promise<LoadResult> {
  const output = await run([program, 'load'], { input: JSON.stringify(plan) });
  return JSON.parse(output) as LoadResult;
}

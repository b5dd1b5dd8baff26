// SPDX-License-Identifier: GPL-3.0-or-later
// An Orthanc in a box: started with a configuration, asked over HTTP and DICOM, ended.

import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { type Box, runInBox, spawnInBox } from '../../scripts/lib/box.mjs';
import { waitForOrthanc } from '../../scripts/lib/orthanc.mjs';
import { freePort } from '../../scripts/lib/ports.mjs';
import { waitForExit } from '../../scripts/lib/run.mjs';

export type Configuration = Readonly<Record<string, unknown>>;

export interface OrthancOptions {
  readonly box: Box;
  /** For its configuration, index and log; the index in it is kept from one start to the next. */
  readonly folder: string;
  readonly configuration: Configuration;
  readonly environment?: Readonly<Record<string, string>>;
  /** As `Orthanc orthanc.json` at a shell in that folder: paths in its configuration may be relative to it, and stay so. */
  readonly inFolder?: boolean;
  /** "--trace" tells most. */
  readonly verbosity?: '--verbose' | '--trace';
  /** A command in the box that runs Orthanc, such as `nice`. */
  readonly by?: readonly string[];
  /** Further folders that the box has to see. */
  readonly binds?: readonly string[];
  /** How often it is asked whether it has started (100 ms). */
  readonly pollMs?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}

export interface Orthanc {
  readonly url: string;
  readonly dicomPort: number;
  /** Of Orthanc itself where the box is a chroot. */
  readonly pid: number;
  request(
    method: string,
    path: string,
    body?: string | Uint8Array,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Answer>;
  /** @throws unless the answer is 200 */
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Buffer>;
  json(path: string): Promise<unknown>;
  /** Uploads a DICOM file. @throws unless the answer is 200 */
  upload(file: Uint8Array): Promise<Upload>;
  /** Read again on SIGHUP. */
  readonly configurationFile: string;
  log(): string;
  /** Waits until Orthanc has started for the `times`th time, that is once more after each reset. */
  hasStarted(times: number): Promise<void>;
  /** The plugin's own lines. */
  pluginLines(): readonly string[];
  /** Those of the plugin's errors.
   *  @param position in the log, such as its length at some time */
  errorsSince(position: number): readonly string[];
  signal(name: NodeJS.Signals): void;
  /** @returns the exit status
   *  @throws where Orthanc crashed; so do `stop` and `kill`, also where it had crashed before */
  exited(): Promise<number>;
  isRunning(): boolean;
  /** SIGTERM. @returns the exit status */
  stop(): Promise<number>;
  /** SIGKILL: what takes Orthanc seconds is over at once. */
  kill(): Promise<void>;
}

export interface Upload {
  readonly ID: string;
  readonly Status: 'Success' | 'AlreadyStored';
  readonly ParentSeries: string;
  readonly ParentStudy: string;
  readonly ParentPatient: string;
}

const START_LIMIT_MS = 30_000;
const START_ATTEMPTS = 3;
const PORT_TAKEN = /TCP port of the \w+ server is privileged or already in use/;
const STOP_GRACE_MS = 30_000;

/** Starts Orthanc and waits until its REST API answers.
 *  @throws with the end of its log where it does not start */
export async function startOrthanc(options: OrthancOptions): Promise<Orthanc> {
  for (let attempt = 1; ; attempt += 1) {
    const { orthanc, child, logFile } = await launch(options);
    try {
      if (options.pollMs !== undefined) await pollSystem(orthanc, options.pollMs);
      else await waitForOrthanc(child, orthanc.url, logFile);
      return orthanc;
    } catch (error) {
      // Another process may have taken one of its ports since they were chosen.
      const isTaken = !orthanc.isRunning() && PORT_TAKEN.test(orthanc.log());
      if (attempt === START_ATTEMPTS || !isTaken) throw error;
    }
  }
}

async function pollSystem(orthanc: Orthanc, pollMs: number): Promise<void> {
  const deadline = performance.now() + START_LIMIT_MS;
  for (;;) {
    const status = await orthanc.request('GET', '/system').then(
      (answer) => answer.status,
      () => undefined, // nobody listens yet
    );
    if (status === 200) return;
    if (!orthanc.isRunning() || performance.now() > deadline) throw new Error(orthanc.log());
    await sleep(pollMs);
  }
}

/** Starts an Orthanc that is expected to refuse its configuration.
 *  @throws where it starts all the same, or takes longer than `limitMs` */
export async function runRefusedOrthanc(
  options: OrthancOptions,
  limitMs: number,
): Promise<{ readonly status: number; readonly ms: number; readonly orthanc: Orthanc }> {
  const startedMs = performance.now();
  const { orthanc } = await launch(options);
  const expired = Symbol('expired');
  const timer = new AbortController();
  const outcome = await Promise.race([
    orthanc.exited(),
    sleep(limitMs, expired, { signal: timer.signal }).catch(() => expired),
  ]);
  timer.abort();
  if (typeof outcome !== 'number') {
    await orthanc.stop();
    throw new Error(`Orthanc did not refuse to start within ${limitMs} ms:\n${orthanc.log()}`);
  }
  return { status: outcome, ms: performance.now() - startedMs, orthanc };
}

async function launch(options: OrthancOptions) {
  const {
    box,
    folder,
    configuration,
    environment = {},
    inFolder = false,
    verbosity,
    by = [],
    binds = [],
  } = options;
  await mkdir(folder, { recursive: true });
  const httpPort = await freePort();
  const dicomPort = await freePort();
  const configurationFile = join(folder, 'orthanc.json');
  const full = {
    StorageDirectory: join(folder, 'storage'),
    IndexDirectory: join(folder, 'index'),
    HttpPort: httpPort,
    DicomPort: dicomPort,
    RemoteAccessAllowed: false,
    AuthenticationEnabled: false,
    ...configuration,
  };
  await writeFile(configurationFile, JSON.stringify(full, undefined, 2));
  const logFile = join(folder, 'orthanc.log');
  const log = openSync(logFile, 'w');
  const child = spawnInBox(
    box,
    [
      ...by,
      'Orthanc',
      ...(verbosity === undefined ? [] : [verbosity]),
      inFolder ? basename(configurationFile) : configurationFile,
    ],
    {
      stdio: ['ignore', log, log],
      env: environment,
      binds: [folder, ...binds],
      ...(inFolder ? { cwd: folder } : {}),
    },
  );
  closeSync(log);
  const url = `http://127.0.0.1:${httpPort}`;
  return {
    orthanc: createOrthanc(child, url, dicomPort, configurationFile, logFile),
    child,
    logFile,
  };
}

function createOrthanc(
  child: ChildProcess,
  url: string,
  dicomPort: number,
  configurationFile: string,
  logFile: string,
): Orthanc {
  const ending = waitForExit(child);
  const exited = async () => {
    const status = await ending;
    if (CRASHES.has(status)) {
      throw new Error(`Orthanc crashed, exit status ${status}:\n${log().slice(-3000)}`);
    }
    return status;
  };
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  const request: Orthanc['request'] = async (method, path, body, headers = {}) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    });
    return {
      status: response.status,
      headers: response.headers,
      body: Buffer.from(await response.arrayBuffer()),
    };
  };
  const insist = async (...parameters: Parameters<typeof request>) => {
    const answer = await request(...parameters);
    const [method, path] = parameters;
    if (answer.status !== 200 && answer.status !== 206) {
      throw new Error(
        `${method} ${path}: ${answer.status} ${answer.body.subarray(0, 500).toString()}`,
      );
    }
    return answer.body;
  };
  const log = () => readFileSync(logFile, 'utf8');
  const pluginLines = (position = 0) =>
    log()
      .slice(position)
      .split('\n')
      .filter((line) => PLUGIN_LINE.test(line));
  return {
    url,
    dicomPort,
    pid: child.pid ?? 0,
    request,
    get: (path, headers) => insist('GET', path, undefined, headers),
    json: async (path) => JSON.parse((await insist('GET', path)).toString()) as unknown,
    upload: async (file) =>
      JSON.parse((await insist('POST', '/instances', file)).toString()) as Upload,
    configurationFile,
    log,
    hasStarted: async (times) => {
      const deadline = performance.now() + START_LIMIT_MS;
      while ((log().match(/Orthanc has started/g)?.length ?? 0) < times) {
        if (!isRunning() || performance.now() > deadline) {
          throw new Error(`Orthanc has not started ${times} times:\n${log().slice(-3000)}`);
        }
        await sleep(50);
      }
    },
    pluginLines: () => pluginLines(),
    errorsSince: (position) => pluginLines(position).filter((line) => line.startsWith('E')),
    signal: (name) => {
      child.kill(name);
    },
    exited,
    isRunning,
    stop: async () => {
      if (!isRunning()) return await exited();
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
      const status = await exited();
      clearTimeout(timer);
      return status;
    },
    kill: async () => {
      child.kill('SIGKILL');
      await exited();
    },
  };
}

/** Exit statuses after SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE and SIGSEGV. */
const CRASHES: ReadonlySet<number> = new Set([132, 133, 134, 135, 136, 139]);
const PLUGIN_LINE = /object-storage:/;

/** Sends files by C-STORE, one association.
 *  @returns dcmtk's output and exit status */
export async function sendByDicom(
  box: Box,
  orthanc: Orthanc,
  tool: 'storescu' | 'dcmsend',
  parameters: readonly string[],
): Promise<{ readonly code: number; readonly output: string }> {
  const target = ['127.0.0.1', String(orthanc.dicomPort)];
  const result = await runInBox(box, [tool, ...target, ...parameters]);
  return { code: result.code, output: `${result.stdout}${result.stderr}` };
}

// SPDX-License-Identifier: GPL-3.0-or-later
// The TypeScript side of native/binding.cpp: takes Orthanc's requests, and returns bytes and results.

import type { Crc32 } from '../checksums/checksums.ts';
import type { CreateAes } from '../encryption/aes.ts';
import { type AesModule, createNativeAes, type NativeAes } from '../encryption/native-aes.ts';
import { ERROR_CODES } from '../error-codes.ts';
import { errorCode, type OrthancErrorName, StorageError, toStorageError } from '../errors.ts';
import type { RunFileSteps } from '../local/file-steps.ts';
import type { LogLevel } from '../log.ts';
import { type JobRunner, type JobState, StepStatus } from '../move/job.ts';
import { Cancellation, type Signal } from '../store/abort.ts';
import { bodyFrom } from '../store/bodies.ts';
import type { Body, Sink } from '../store/object-store.ts';
import { type SafeText, safeLine } from '../text/safe-text.ts';

/** The shim's module. An id stands for one request. Once the request is over, calls with its id do nothing but throw an Error with the
 *  code REQUEST_OVER. */
export interface Binding extends AesModule {
  readonly pluginVersion: string;
  readonly orthancVersion: string;
  readonly bundlePath: string;
  /** The number of this event loop. Loop 0 also serves REST, jobs and metrics. */
  readonly lane: number;
  /** True: replaces a runtime that has ended by itself, so Orthanc is already running. */
  readonly restarted: boolean;
  readonly orthancErrorCodes: Readonly<Record<OrthancErrorName, number>>;
  readonly crc32: Crc32;
  readonly runFileSteps: RunFileSteps;
  /** Orthanc's whole configuration as JSON. */
  configuration(): string;
  /** @param level 0 error, 1 warning, 2 info, 3 trace */
  log(level: number, message: SafeText): void;
  start(handlers: {
    onRequest(
      id: number,
      operation: number,
      uuid: string,
      contentType: number,
      contentBytes: number,
      rangeStart: number,
      rangeEnd: number,
    ): void;
    /** @param name a CallName, or an HTTP method with a path as argument
     *  @param headers of HTTP, a line "name: value" for each, with names in lower case */
    onCall(id: number, name: string, argument: string, contentBytes: number, headers: string): void;
    /** The shim has given up the request, at its deadline or because Orthanc is stopping. */
    onAbandoned(id: number): void;
    onStop(): void;
  }): void;
  /** The start still waits for the store. Without this, the shim gives up after 30 s. */
  starting(): void;
  ready(settings: RuntimeSettings): void;
  /** Orthanc must not start, or this runtime cannot start again. The message is for the user. */
  refuse(message: SafeText): void;
  /** Why the runtime is about to end, for the errors of its requests. */
  ending(reason: SafeText): void;
  /** Lets the event loop end once it is idle. */
  release(): void;
  /** Copies the content's bytes [offset, offset + target.length) into the target. */
  readInto(id: number, offset: number, target: Uint8Array): void;
  /** As `aes.update` of the content's bytes [offset, offset + target.length), without copying them. */
  encryptInto(id: number, offset: number, target: Uint8Array, aes: NativeAes): void;
  /** As `aes.sealMessage` of the content's bytes from `offset` on, without copying them. */
  sealInto(
    id: number,
    offset: number,
    target: Uint8Array,
    aes: NativeAes,
    nonce: Uint8Array,
    additional: Uint8Array,
  ): void;
  /** Allocates the answer and discards an earlier one. For a range read, it must be the size of the range. */
  allocate(id: number, sizeBytes: number): void;
  write(id: number, offset: number, bytes: Uint8Array): void;
  /** Ends a request, or a call that has no answer. @param code 0, or one of orthancErrorCodes
   *  @throws for 0 if bytes of the answer are missing */
  complete(id: number, code: number): void;
  /** @param headers a line "name: value" for each */
  respond(
    id: number,
    status: number,
    contentType: string,
    body: Uint8Array,
    headers?: string,
  ): void;
  /** Calls another event loop. @returns its answer; status 503 after a second, or if that loop has just ended */
  askLane(lane: number, name: CallName): Promise<OrthancAnswer>;
  /** Submits a job, whose steps come as calls. @returns status 200 and Orthanc's id of the job */
  submitJob(
    type: string,
    priority: number,
    content: string,
    serialized: string,
  ): Promise<OrthancAnswer>;
  /** Sets the state of a job that Orthanc shows and keeps. @param status of its last step */
  updateJob(
    handle: string,
    progress: number,
    content: string,
    serialized: string,
    status: StepStatus,
  ): void;
  /** Locks a file until this runtime ends. @returns false if another process has the lock */
  lockFile(path: string): boolean;
  /** Asks Orthanc's REST API on a thread of the shim's. It may wait for storage requests, so none may wait for it. */
  getFromOrthanc(path: string): Promise<OrthancAnswer>;
}

export interface RuntimeSettings {
  /** False: Orthanc keeps its own storage, and the runtime ends. */
  readonly storage: boolean;
  readonly rangeReads: boolean;
  /** The number of event loops. Only loop 0 decides. */
  readonly lanes: number;
  /** When the shim gives up waiting for an answer. TypeScript's own deadlines are earlier; these are a safety net. */
  readonly callTimeoutMs: number;
  readonly removeTimeoutMs: number;
  readonly metricsTimeoutMs: number;
  /** How long `stop` may take. */
  readonly stopTimeoutMs: number;
  /** A loop that has not turned for this long, while requests wait, is replaced. */
  readonly watchdogMs: number;
}

export interface OrthancAnswer {
  /** NOT_CALLED (src/orthanc/api.ts) once Orthanc is stopping. */
  readonly status: number;
  readonly body: Uint8Array;
}

/** The calls for jobs have the job's handle as argument and its last state as content. */
type CallName =
  | 'job-step'
  | 'job-stop'
  | 'job-restore'
  | 'job-reset'
  | 'metrics'
  | 'figures'
  | 'history';

export type StorageOperation = 'create' | 'readWhole' | 'readRange' | 'remove';

export interface StorageRequest {
  readonly operation: StorageOperation;
  readonly uuid: string;
  /** OrthancPluginContentType. */
  readonly contentType: number;
  /** Of a create. */
  readonly body: Body;
  /** Of a read. */
  readonly sink: Sink;
  /** Of a range read, half-open. */
  readonly range: { readonly start: number; readonly end: number };
  /** Aborted when Orthanc no longer waits for the answer. */
  readonly signal: Signal;
}

export interface RestRequest {
  readonly method: string;
  readonly path: string;
  /** @param name in lower case */
  header(name: string): string | undefined;
  readonly body: Body;
  readonly signal: Signal;
}

export interface RestResponse {
  readonly status: number;
  /** For status 200; other answers are text/plain. */
  readonly contentType: string;
  readonly body: Uint8Array;
  /** Beside those that Orthanc makes. Ours alone, so that their values have no line ends. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Handlers {
  /** Logs what it throws. */
  storage(request: StorageRequest): Promise<void>;
  rest(request: RestRequest): Promise<RestResponse>;
  /** For MOVE_JOB_TYPE, the only type that the shim forwards. */
  readonly jobs: JobRunner;
  /** A line "name value" for each metric, over all event loops. */
  metrics(): Promise<string>;
  /** The figures of this event loop, as JSON for the others. */
  figures(): string;
  /** Likewise, its samples of the last hour. */
  history(): string;
  stop(): Promise<void>;
}

/** If a REST handler fails, Orthanc's client must still get an answer. */
const REST_FAILURE: RestResponse = {
  status: 500,
  contentType: 'text/plain',
  body: Buffer.from('internal error\n'),
};

// The numbers of native/request.h.
const STORAGE_OPERATIONS: readonly StorageOperation[] = [
  'create',
  'readWhole',
  'readRange',
  'remove',
];
const LOG_LEVELS = { error: 0, warning: 1, info: 2, debug: 3 } as const satisfies Record<
  LogLevel,
  number
>;

export function writeLog(binding: Binding, level: LogLevel, line: SafeText): void {
  binding.log(LOG_LEVELS[level], line);
}

/** Answers each request of the shim exactly once. */
export class RequestServer {
  readonly #binding: Binding;
  readonly #handlers: Handlers;
  readonly #cancellations = new Map<number, Cancellation>();

  constructor(binding: Binding, handlers: Handlers) {
    this.#binding = binding;
    this.#handlers = handlers;
  }

  start(settings: RuntimeSettings): void {
    const binding = this.#binding;
    binding.start({
      onRequest: (id, operationNumber, uuid, contentType, contentBytes, start, end) => {
        const operation = STORAGE_OPERATIONS[operationNumber];
        if (operation === undefined) throw new Error(`no such operation: ${operationNumber}`);
        const body = bodyOf(binding, id, contentBytes);
        const sink = sinkOf(binding, id);
        const signal = this.#begin(id);
        const range = { start, end };
        const request = { operation, uuid, contentType, body, sink, range, signal };
        void this.#serveStorage(id, request);
      },
      onCall: (id, name, argument, contentBytes, headers) => {
        const body = bodyOf(binding, id, contentBytes);
        void this.#serve(id, name, argument, body, headers);
      },
      onAbandoned: (id) => {
        this.#cancellations.get(id)?.abort(abandoned());
      },
      onStop: () => {
        void this.#handlers.stop().finally(() => {
          binding.release();
        });
      },
    });
    binding.ready(settings);
  }

  #begin(id: number): Signal {
    const cancellation = new Cancellation();
    this.#cancellations.set(id, cancellation);
    return cancellation;
  }

  async #serveStorage(id: number, request: StorageRequest): Promise<void> {
    const binding = this.#binding;
    let code = 0;
    try {
      await this.#handlers.storage(request);
    } catch (error) {
      code = binding.orthancErrorCodes[ERROR_CODES[toStorageError(error).code].orthanc];
    }
    this.#cancellations.delete(id);
    this.#complete(id, request, code);
  }

  #complete(id: number, request: StorageRequest, code: number): void {
    const binding = this.#binding;
    try {
      binding.complete(id, code);
    } catch (error) {
      if (isRequestOver(error)) return;
      if (code !== 0) throw error;
      // Bytes that `begin` announced are missing. This defect of ours fails the request, but not the runtime.
      const line = `op=${request.operation} uuid=${request.uuid} ${String(error)}`;
      writeLog(binding, 'error', safeLine(line));
      this.#complete(id, request, binding.orthancErrorCodes[ERROR_CODES.INTERNAL.orthanc]);
    }
  }

  async #serve(
    id: number,
    name: string,
    argument: string,
    body: Body,
    headers: string,
  ): Promise<void> {
    try {
      await this.#serveCall(id, name, argument, body, headers, this.#begin(id));
    } catch (error) {
      if (!isRequestOver(error)) this.#failCall(id, name, error);
    } finally {
      this.#cancellations.delete(id);
    }
  }

  /** A call that fails is no reason to end what others wait for. */
  #failCall(id: number, name: string, error: unknown): void {
    const binding = this.#binding;
    writeLog(binding, 'error', safeLine(`op=${name} ${String(error)}`));
    try {
      binding.complete(id, binding.orthancErrorCodes[ERROR_CODES.INTERNAL.orthanc]);
    } catch (thrown) {
      if (!isRequestOver(thrown)) throw thrown;
    }
  }

  async #serveCall(
    id: number,
    name: string,
    argument: string,
    body: Body,
    headers: string,
    signal: Signal,
  ): Promise<void> {
    const binding = this.#binding;
    const handlers = this.#handlers;
    switch (name as CallName) {
      case 'job-step':
      case 'job-stop':
      case 'job-restore':
      case 'job-reset':
        return await this.#serveJob(id, name, argument, body);
      case 'metrics':
        return binding.respond(id, 200, 'text/plain', Buffer.from(await handlers.metrics()));
      case 'figures':
        return binding.respond(id, 200, 'application/json', Buffer.from(handlers.figures()));
      case 'history':
        return binding.respond(id, 200, 'application/json', Buffer.from(handlers.history()));
      default: {
        const header = (wanted: string) => headerIn(headers, wanted);
        const request = { method: name, path: argument, header, body, signal };
        const answer = await handlers.rest(request).catch(() => REST_FAILURE);
        const lines = Object.entries(answer.headers ?? {}).map((pair) => `${pair.join(': ')}\n`);
        return binding.respond(id, answer.status, answer.contentType, answer.body, lines.join(''));
      }
    }
  }

  async #serveJob(id: number, name: string, handle: string, body: Body): Promise<void> {
    const binding = this.#binding;
    try {
      const serialized = Buffer.from(body.read(0, body.sizeBytes)).toString();
      const { status, state } = await this.#runJob(name, handle, serialized);
      if (state !== undefined) {
        binding.updateJob(handle, state.progress, state.content, state.serialized, status);
      }
      binding.complete(id, 0);
    } catch (error) {
      if (isRequestOver(error)) throw error;
      writeLog(binding, 'error', safeLine(`op=${name} ${String(error)}`));
      binding.complete(id, binding.orthancErrorCodes[ERROR_CODES.INTERNAL.orthanc]);
    }
  }

  async #runJob(
    name: string,
    handle: string,
    serialized: string,
  ): Promise<{ readonly status: StepStatus; readonly state: JobState | undefined }> {
    const { jobs } = this.#handlers;
    const status = StepStatus.Continue;
    if (name === 'job-step') return await jobs.step(handle, serialized);
    if (name === 'job-stop') return { status, state: await jobs.stop(handle) };
    const state = name === 'job-restore' ? jobs.restore(serialized) : jobs.reset(serialized);
    return { status, state };
  }
}

function headerIn(lines: string, name: string): string | undefined {
  const start = `${name}: `;
  const line = lines.split('\n').find((text) => text.startsWith(start));
  return line?.slice(start.length);
}

interface RequestBody extends Body {
  readonly requestId: number;
}

/** The shim's AES, which reads contents of requests directly from Orthanc's memory. */
export function createRequestAes(binding: Binding): CreateAes {
  const whereRequest = (content: Body, work: (requestId: number) => void) => {
    if (!isRequestBody(content)) return false;
    whileAlive(() => {
      work(content.requestId);
    });
    return true;
  };
  return createNativeAes(binding, {
    update: (aes, content, start, target) =>
      whereRequest(content, (id) => {
        binding.encryptInto(id, start, target, aes);
      }),
    sealMessage: (aes, nonce, additional, content, start, target) =>
      whereRequest(content, (id) => {
        binding.sealInto(id, start, target, aes, nonce, additional);
      }),
  });
}

function isRequestBody(body: Body): body is RequestBody {
  return 'requestId' in body;
}

function bodyOf(binding: Binding, id: number, sizeBytes: number): RequestBody {
  const body = bodyFrom(sizeBytes, (start, target) => {
    whileAlive(() => {
      binding.readInto(id, start, target);
    });
  });
  return Object.assign(body, { requestId: id });
}

function sinkOf(binding: Binding, id: number): Sink {
  return {
    // The answer is in memory, and the shim counts its bytes.
    anyOrder: true,
    begin: (sizeBytes) => {
      whileAlive(() => {
        binding.allocate(id, sizeBytes);
      });
    },
    write: (offset, bytes) => {
      whileAlive(() => {
        binding.write(id, offset, bytes);
      });
    },
  };
}

function whileAlive<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!isRequestOver(error)) throw error;
    throw abandoned(error);
  }
}

function abandoned(cause?: unknown): StorageError {
  return new StorageError('ABORTED', 'Orthanc no longer waits for this operation', { cause });
}

function isRequestOver(error: unknown): boolean {
  return errorCode(error) === 'REQUEST_OVER';
}

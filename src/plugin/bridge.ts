// SPDX-License-Identifier: GPL-3.0-or-later
// The TypeScript twin of native/binding.cpp. Requests come out of Orthanc's threads here, and their bytes and ends go back.

import type { CreateAes } from '../encryption/aes.ts';
import { type AesModule, createNativeAes, type NativeAes } from '../encryption/native-aes.ts';
import {
  errorCode,
  ORTHANC_ERROR_NAMES,
  type OrthancErrorName,
  StorageError,
  toStorageError,
} from '../errors.ts';
import type { LogLevel } from '../log.ts';
import { type JobRunner, type JobState, StepStatus } from '../move/job.ts';
import { bodyFrom } from '../store/bodies.ts';
import type { Body, Sink } from '../store/object-store.ts';
import { type SafeText, safeLine } from '../text/safe-text.ts';

/** What the shim exports. An id stands for one request from its arrival until it is over; from then on every call with it throws an
 *  error whose `code` is REQUEST_OVER, and touches nothing. */
export interface Binding extends AesModule {
  readonly pluginVersion: string;
  readonly orthancVersion: string;
  readonly bundlePath: string;
  /** Which of the event loops this one is. The first, 0, also serves what Orthanc asks beside storage. */
  readonly lane: number;
  /** True in a runtime that replaces one which ended by itself: Orthanc is up already. */
  readonly restarted: boolean;
  readonly orthancErrorCodes: Readonly<Record<OrthancErrorName, number>>;
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
    /** Anything but storage. @param name one of CallName, or a method of HTTP with a path as the argument */
    onCall(id: number, name: string, argument: string, contentBytes: number): void;
    /** The shim has given up the request, at its deadline or because Orthanc stops. */
    onAbandoned(id: number): void;
    onStop(): void;
  }): void;
  /** It still waits for the store: the shim, which gives up after 30 s, is to wait on. */
  starting(): void;
  /** From now on requests come. */
  ready(settings: RuntimeSettings): void;
  /** Orthanc must not start, or the runtime is of no use: the message tells the user why. */
  refuse(message: SafeText): void;
  /** Why the runtime is about to end; told to those whose requests fail with it. */
  ending(reason: SafeText): void;
  /** The loop may end once nothing else keeps it. */
  release(): void;
  /** Copies the content's bytes [offset, offset + target.length) into the target. */
  readInto(id: number, offset: number, target: Uint8Array): void;
  /** As `aes.update` of the content's bytes [offset, offset + target.length), where they lie. */
  encryptInto(id: number, offset: number, target: Uint8Array, aes: NativeAes): void;
  /** As `aes.sealMessage` of the content's bytes from `offset` on, where they lie. */
  sealInto(
    id: number,
    offset: number,
    target: Uint8Array,
    aes: NativeAes,
    nonce: Uint8Array,
    additional: Uint8Array,
  ): void;
  /** Makes room for the answer; each call starts anew. A range read takes exactly the size that was asked for. */
  allocate(id: number, sizeBytes: number): void;
  write(id: number, offset: number, bytes: Uint8Array): void;
  /** Ends a request, or a call that has no answer. @param code 0, or one of orthancErrorCodes
   *  @throws where it is 0 although bytes of the answer are missing */
  complete(id: number, code: number): void;
  /** Ends a call. */
  respond(id: number, status: number, contentType: string, body: Uint8Array): void;
  /** Makes a call of another event loop. @returns its answer; status 503 after a second, or where that loop has just ended */
  askLane(lane: number, name: CallName): Promise<OrthancAnswer>;
  /** Gives Orthanc a job to do, whose steps then come as events. @returns status 200 and the id that Orthanc gave it */
  submitJob(
    type: string,
    priority: number,
    content: string,
    serialized: string,
  ): Promise<OrthancAnswer>;
  /** What Orthanc shows and keeps of a job from now on. @param status of its last step */
  updateJob(
    handle: string,
    progress: number,
    content: string,
    serialized: string,
    status: StepStatus,
  ): void;
  /** Asks Orthanc's REST API on a thread of the shim's. It may wait for storage requests, so none may wait for it. */
  getFromOrthanc(path: string): Promise<OrthancAnswer>;
}

export interface RuntimeSettings {
  /** False: Orthanc keeps its own storage, and the runtime ends. */
  readonly storage: boolean;
  readonly rangeReads: boolean;
  /** Event loops there are to be; only the first one's word counts. */
  readonly lanes: number;
  /** When the shim gives up waiting for an answer. TypeScript has its own, earlier deadlines; these are for when it is at fault. */
  readonly callTimeoutMs: number;
  readonly removeTimeoutMs: number;
  readonly metricsTimeoutMs: number;
  /** After how long without a turn a loop that requests wait for is taken for hung. */
  readonly watchdogMs: number;
}

export interface OrthancAnswer {
  /** NOT_CALLED of src/orthanc/api.ts once Orthanc is stopping. */
  readonly status: number;
  readonly body: Uint8Array;
}

/** Of a job, the argument is its handle and the content what Orthanc has kept of it. */
type CallName = 'job-step' | 'job-stop' | 'job-restore' | 'job-reset' | 'metrics' | 'figures';

export type StorageOperation = 'create' | 'readWhole' | 'readRange' | 'remove';

export interface StorageRequest {
  readonly operation: StorageOperation;
  readonly uuid: string;
  /** Orthanc's number of it. */
  readonly contentType: number;
  /** Of a create, what is to be stored. */
  readonly body: Body;
  /** Of a read, where the bytes go. */
  readonly sink: Sink;
  /** Of a range read, half-open. */
  readonly range: { readonly start: number; readonly end: number };
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

export interface RestRequest {
  readonly method: string;
  readonly path: string;
  readonly body: Body;
  readonly signal: AbortSignal;
}

export interface RestResponse {
  readonly status: number;
  /** Of 200; all others go out as text/plain. */
  readonly contentType: string;
  readonly body: Uint8Array;
}

export interface Handlers {
  /** Has logged what it throws. */
  storage(request: StorageRequest): Promise<void>;
  rest(request: RestRequest): Promise<RestResponse>;
  /** Of MOVE_JOB_TYPE, all of them: the shim forwards no other. */
  readonly jobs: JobRunner;
  /** Lines of a metric's name and its value, of all event loops. */
  metrics(): Promise<string>;
  /** What this event loop has done, as JSON for the others. */
  figures(): string;
  stop(): Promise<void>;
}

/** A defect of ours in the wording of a REST answer must not leave Orthanc's client waiting. */
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

/** Takes requests from the shim and answers each exactly once. */
export function serveRequests(
  binding: Binding,
  handlers: Handlers,
  settings: RuntimeSettings,
): void {
  const controllers = new Map<number, AbortController>();

  async function serve(id: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const controller = new AbortController();
    controllers.set(id, controller);
    try {
      await work(controller.signal);
    } catch (error) {
      // Nobody waits any more where the request is over.
      if (!isRequestOver(error)) throw error;
    } finally {
      controllers.delete(id);
    }
  }

  async function serveStorage(
    id: number,
    request: Omit<StorageRequest, 'signal'>,
    signal: AbortSignal,
  ): Promise<void> {
    let code = 0;
    try {
      await handlers.storage({ ...request, signal });
    } catch (error) {
      code = binding.orthancErrorCodes[ORTHANC_ERROR_NAMES[toStorageError(error).code]];
    }
    try {
      binding.complete(id, code);
    } catch (error) {
      if (isRequestOver(error)) throw error;
      // The shim has counted the bytes: some that were announced never came. A defect of ours, but of this request only.
      const line = `op=${request.operation} uuid=${request.uuid} ${String(error)}`;
      writeLog(binding, 'error', safeLine(line));
      binding.complete(id, binding.orthancErrorCodes[ORTHANC_ERROR_NAMES.INTERNAL]);
    }
  }

  function update(handle: string, state: JobState | undefined, status: StepStatus): void {
    if (state === undefined) return;
    binding.updateJob(handle, state.progress, state.content, state.serialized, status);
  }

  async function runJob(name: string, handle: string, serialized: string): Promise<void> {
    const { jobs } = handlers;
    if (name === 'job-step') {
      const { status, state } = await jobs.step(handle, serialized);
      update(handle, state, status);
    } else if (name === 'job-stop') {
      update(handle, await jobs.stop(handle), StepStatus.Continue);
    } else {
      const state = name === 'job-restore' ? jobs.restore(serialized) : jobs.reset(serialized);
      update(handle, state, StepStatus.Continue);
    }
  }

  async function serveJob(id: number, name: string, handle: string, body: Body): Promise<void> {
    try {
      const serialized = Buffer.from(body.read(0, body.sizeBytes)).toString();
      await runJob(name, handle, serialized);
      binding.complete(id, 0);
    } catch (error) {
      if (isRequestOver(error)) throw error;
      // The job shows what it was.
      binding.complete(id, binding.orthancErrorCodes[ORTHANC_ERROR_NAMES.INTERNAL]);
    }
  }

  async function serveCall(
    id: number,
    name: string,
    argument: string,
    body: Body,
    signal: AbortSignal,
  ): Promise<void> {
    switch (name as CallName) {
      case 'job-step':
      case 'job-stop':
      case 'job-restore':
      case 'job-reset':
        return serveJob(id, name, argument, body);
      case 'metrics':
        return binding.respond(id, 200, 'text/plain', Buffer.from(await handlers.metrics()));
      case 'figures':
        return binding.respond(id, 200, 'application/json', Buffer.from(handlers.figures()));
      default: {
        const request = { method: name, path: argument, body, signal };
        const answer = await handlers.rest(request).catch(() => REST_FAILURE);
        return binding.respond(id, answer.status, answer.contentType, answer.body);
      }
    }
  }

  binding.start({
    onRequest(id, operation, uuid, contentType, contentBytes, rangeStart, rangeEnd) {
      const storageOperation = STORAGE_OPERATIONS[operation];
      if (storageOperation === undefined) throw new Error(`no such operation: ${operation}`);
      const request = {
        operation: storageOperation,
        uuid,
        contentType,
        body: bodyOf(binding, id, contentBytes),
        sink: sinkOf(binding, id),
        range: { start: rangeStart, end: rangeEnd },
      };
      void serve(id, (signal) => serveStorage(id, request, signal));
    },
    onCall(id, name, argument, contentBytes) {
      const body = bodyOf(binding, id, contentBytes);
      void serve(id, (signal) => serveCall(id, name, argument, body, signal));
    },
    onAbandoned(id) {
      controllers
        .get(id)
        ?.abort(new StorageError('ABORTED', 'Orthanc no longer waits for this operation'));
    },
    onStop() {
      void handlers.stop().finally(() => {
        binding.release();
      });
    },
  });
  binding.ready(settings);
}

/** A content in Orthanc's memory. */
interface RequestBody extends Body {
  readonly requestId: number;
}

/** The shim's AES, which encrypts contents of requests in Orthanc's memory. */
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
  return { ...body, requestId: id };
}

function sinkOf(binding: Binding, id: number): Sink {
  return {
    // It is memory; the shim counts what has come.
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
    throw new StorageError('ABORTED', 'Orthanc no longer waits for this operation', {
      cause: error,
    });
  }
}

function isRequestOver(error: unknown): boolean {
  return errorCode(error) === 'REQUEST_OVER';
}

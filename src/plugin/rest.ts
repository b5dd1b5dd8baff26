// SPDX-License-Identifier: GPL-3.0-or-later
// The plugin's routes in Orthanc's REST API.

import { locate, type NamedStore } from '../attachments/locate.ts';
import { StorageError, toStorageError } from '../errors.ts';
import { describeError, type Logger } from '../log.ts';
import type { JobState } from '../move/job.ts';
import { MOVE_JOB_TYPE } from '../move/move.ts';
import { newMove } from '../move/progress.ts';
import { parseMoveRequest } from '../move/request.ts';
import {
  field,
  isLevel,
  LEVELS,
  NOT_CALLED,
  type OrthancApi,
  orthancIsStopping,
} from '../orthanc/api.ts';
import { abortReason, sleepUntilAborted } from '../store/abort.ts';
import { safeJson } from '../text/safe-text.ts';
import type { OrthancAnswer, RestRequest, RestResponse } from './bridge.ts';
import type { Page } from './page.ts';

export interface RestDependencies {
  readonly api: OrthancApi;
  readonly log: Logger;
  readonly status: () => Promise<unknown>;
  readonly history: () => Promise<unknown>;
  readonly page: Page;
  readonly stores: readonly NamedStore[];
  /** False: there is only one store, so nothing can be moved. */
  readonly isHybrid: boolean;
  readonly submitJob: (type: string, priority: number, state: JobState) => Promise<OrthancAnswer>;
  /** How long a client may wait for a job. */
  readonly waitMs: number;
}

/** Enough for 95,000 ids. All storage waits while a body is parsed: 4 MB of "[" take 0.3 s, 60 MB take 6 s. */
const BODY_MAX_BYTES = 4 * 1024 * 1024;
const POLL_MS = 100;

export function createRestHandler(
  deps: RestDependencies,
): (request: RestRequest) => Promise<RestResponse> {
  return async (request) => {
    try {
      return await route(deps, request);
    } catch (error) {
      const failure = toStorageError(error);
      // Orthanc stops or the client has gone: no error for the log.
      const isStopping = failure.code === 'CLOSED';
      const level = isStopping || failure.code === 'ABORTED' ? 'debug' : 'error';
      deps.log[level](`${request.method} ${request.path} failed: ${describeError(failure)}`);
      return answer(isStopping ? 503 : 500, {
        error: failure.message,
        code: failure.code,
      });
    }
  };
}

async function route(deps: RestDependencies, request: RestRequest): Promise<RestResponse> {
  const { path } = request;
  if (path === '/move-storage') {
    return request.method === 'POST' ? await move(deps, request) : onlyWith('POST');
  }
  if (path === '/object-storage/status') {
    return request.method === 'GET' ? answer(200, await deps.status()) : onlyWith('GET');
  }
  if (path === '/object-storage/history') {
    return request.method === 'GET' ? answer(200, await deps.history(), 0) : onlyWith('GET');
  }
  const file = await deps.page.answer(request);
  if (file !== undefined) return request.method === 'GET' ? file : onlyWith('GET');
  const [, level, id] = /^\/object-storage\/locate\/([^/]+)\/([^/]+)\/?$/.exec(path) ?? [];
  if (level === undefined || id === undefined) {
    return answer(404, { error: `no such path: ${path}` });
  }
  return request.method === 'GET' ? await find(deps, request, level, id) : onlyWith('GET');
}

async function find(
  deps: RestDependencies,
  request: RestRequest,
  level: string,
  id: string,
): Promise<RestResponse> {
  if (!isLevel(level)) {
    return answer(404, { error: `no such level: write one of ${LEVELS.join(', ')}` });
  }
  const found = await locate(deps, { level, id }, { signal: request.signal });
  if (found === undefined)
    return answer(404, { error: `Orthanc has no such resource in ${level}` });
  return answer(200, found);
}

async function move(deps: RestDependencies, request: RestRequest): Promise<RestResponse> {
  if (!deps.isHybrid) {
    return answer(400, {
      error:
        'there is one store only: "HybridMode" or "MigrationFromFileSystemEnabled" makes it two',
    });
  }
  const { sizeBytes } = request.body;
  if (sizeBytes > BODY_MAX_BYTES) {
    return answer(400, {
      error: `the body has ${sizeBytes} bytes, ${BODY_MAX_BYTES} are the most: spread "Resources" over several requests, or name patients and studies instead of what is in them`,
    });
  }
  const body = Buffer.from(request.body.read(0, request.body.sizeBytes)).toString();
  const wanted = await parseMoveRequest(body, deps.api, { signal: request.signal });
  if ('problem' in wanted) return answer(400, { error: wanted.problem });
  if (request.signal.aborted) throw abortReason(request.signal);
  const submitted = await deps.submitJob(
    MOVE_JOB_TYPE,
    wanted.priority,
    newMove(wanted.target, wanted.resources),
  );
  if (submitted.status === NOT_CALLED) throw orthancIsStopping();
  const id = Buffer.from(submitted.body).toString();
  if (submitted.status !== 200) throw new StorageError('UNAVAILABLE', id);
  const job = { ID: id, Path: `/jobs/${id}` };
  return wanted.synchronous ? await untilDone(deps, request, job) : answer(200, job);
}

/** As Orthanc answers for its own jobs: the content after success, 500 after a failure, 202 for a job that goes on, perhaps after a
 *  restart of Orthanc. */
async function untilDone(
  deps: RestDependencies,
  request: RestRequest,
  job: { readonly ID: string; readonly Path: string },
): Promise<RestResponse> {
  const endMs = performance.now() + deps.waitMs;
  while (performance.now() < endMs) {
    let info: unknown;
    try {
      info = await deps.api.get(job.Path);
    } catch (error) {
      if (toStorageError(error).code === 'CLOSED') break;
      throw error;
    }
    const content = field(info, 'Content');
    if (field(info, 'State') === 'Success') return answer(200, content);
    if (field(info, 'State') === 'Failure') return answer(500, content);
    if (info === undefined) return answer(500, { error: `the job ${job.ID} is gone`, ...job });
    await sleepUntilAborted(POLL_MS, request.signal);
  }
  return answer(202, job);
}

function onlyWith(method: string): RestResponse {
  // The shim puts the body into the header Allow.
  return { status: 405, contentType: 'text/plain', body: Buffer.from(method) };
}

/** @param indent for people; 0: for a program, as the answer is long */
function answer(status: number, value: unknown, indent = 2): RestResponse {
  return {
    status,
    contentType: 'application/json',
    body: Buffer.from(`${safeJson(value, indent)}\n`),
    // It is out of date at once, and may have names in it that no disk of a client should keep.
    headers: { 'Cache-Control': 'no-store' },
  };
}

// SPDX-License-Identifier: GPL-3.0-or-later

import { field, findResource, type OrthancApi, type Resource } from '../orthanc/api.ts';
import { abortReason } from '../store/abort.ts';
import type { OperationOptions } from '../store/object-store.ts';
import { MOVE_TARGETS, type MoveTarget } from './progress.ts';

/** Of Orthanc's, which takes 32 bits. */
const PRIORITY_MAX = 2 ** 31 - 1;

export interface MoveRequest {
  readonly target: MoveTarget;
  readonly resources: readonly Resource[];
  readonly synchronous: boolean;
  readonly priority: number;
}

/** @returns the request, or what is wrong with it */
export async function parseMoveRequest(
  body: string,
  api: OrthancApi,
  { signal }: Partial<OperationOptions> = {},
): Promise<MoveRequest | { readonly problem: string }> {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return { problem: 'the body is no JSON' };
  }
  const ids = field(value, 'Resources');
  if (!Array.isArray(ids) || ids.length === 0 || !ids.every((id) => typeof id === 'string')) {
    return {
      problem: '"Resources" must be a list of the ids of patients, studies, series or instances',
    };
  }
  const target = MOVE_TARGETS.find((name) => name === field(value, 'TargetStorage'));
  if (target === undefined) {
    return {
      problem: `"TargetStorage" must be one of ${MOVE_TARGETS.map((name) => `"${name}"`).join(', ')}`,
    };
  }
  const priority = field(value, 'Priority') ?? 0;
  if (!Number.isInteger(priority) || Math.abs(Number(priority)) > PRIORITY_MAX) {
    return {
      problem: `"Priority" must be a whole number from -${PRIORITY_MAX} to ${PRIORITY_MAX}`,
    };
  }
  const synchronous = field(value, 'Synchronous');
  const asynchronous = field(value, 'Asynchronous');
  const flags = { Synchronous: synchronous, Asynchronous: asynchronous };
  for (const [name, flag] of Object.entries(flags)) {
    if (flag !== undefined && typeof flag !== 'boolean') {
      return { problem: `"${name}" must be true or false` };
    }
  }
  const resources: Resource[] = [];
  for (const id of new Set(ids as readonly string[])) {
    // Whoever asked has been told that nothing was begun.
    if (signal?.aborted === true) throw abortReason(signal);
    const resource = await findResource(api, id, resources.at(-1)?.level);
    if (resource === undefined) return { problem: `Orthanc has no resource "${id.slice(0, 80)}"` };
    resources.push(resource);
  }
  return {
    target,
    resources,
    synchronous: synchronous === undefined ? asynchronous !== true : synchronous === true,
    priority: Number(priority),
  };
}

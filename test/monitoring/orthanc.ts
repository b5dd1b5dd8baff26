// SPDX-License-Identifier: GPL-3.0-or-later
// deploy/monitoring over a real Orthanc.

import assert from 'node:assert/strict';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inProject } from '../../scripts/lib/paths.mjs';
import { freePort } from '../../scripts/lib/ports.mjs';
import { stopProcess } from '../../scripts/lib/run.mjs';
import { METRIC_GROUPS, METRIC_PREFIX } from '../../src/plugin/metrics.ts';
import { makeDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { createWorld, type World } from '../support/world.ts';
import type { Tools } from './tools.mjs';

const PASSWORD = 'a password of the monitoring';
const LIMIT_MS = 60_000;

export async function main(tools: Tools, folder: string): Promise<void> {
  const world = await createWorld();
  try {
    const orthanc = await startOrthanc(world);
    const prometheus = await startPrometheus(tools, folder, orthanc);
    try {
      await expectRefusal(prometheus);
      await prometheus.usePassword(PASSWORD);
      await expectAll(orthanc, prometheus);
      await expectAlert(world, orthanc, prometheus);
    } finally {
      await prometheus.stop();
    }
  } finally {
    await world.close();
  }
}

async function startOrthanc(world: World): Promise<Orthanc> {
  const directory = join(world.folder, 'cache');
  await mkdir(directory, { mode: 0o700 });
  return await world.start('watched', {
    configuration: {
      ...world.configure({
        MaxRetries: 0,
        LocalCache: { Directory: directory },
        DeleteInBackground: true,
      }),
      AuthenticationEnabled: true,
      RegisteredUsers: { prometheus: PASSWORD },
      MaximumStorageCacheSize: 0,
    },
  });
}

interface Prometheus {
  /** @param query PromQL @returns the samples */
  query(query: string): Promise<readonly Sample[]>;
  get(path: string): Promise<unknown>;
  usePassword(password: string): Promise<void>;
  stop(): Promise<void>;
}

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

/** By the very files of deploy/monitoring, but for the address, and for how often. */
async function startPrometheus(
  tools: Tools,
  folder: string,
  orthanc: Orthanc,
): Promise<Prometheus> {
  const settings = join(folder, 'prometheus');
  await cp(inProject('deploy', 'monitoring'), settings, { recursive: true });
  const file = join(settings, 'prometheus.yml');
  const text = await readFile(file, 'utf8');
  const { host } = new URL(orthanc.url);
  const changed = text.replace('orthanc:8042', host).replaceAll(': 15s', ': 1s');
  assert.notEqual(changed, text);
  await writeFile(file, changed);
  const usePassword = (password: string) => writeFile(join(settings, 'orthanc-password'), password);
  await usePassword('a wrong one');
  const address = `127.0.0.1:${await freePort()}`;
  const child = tools.start([
    'prometheus',
    `--config.file=${file}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=${address}`,
  ]);
  let said = '';
  child.stdout?.on('data', (chunk) => {
    said += String(chunk);
  });
  child.stderr?.on('data', (chunk) => {
    said += String(chunk);
  });
  const get = async (path: string) => {
    const response = await fetch(`http://${address}${path}`);
    const body = (await response.json()) as { readonly status: string; readonly data: unknown };
    assert.equal(body.status, 'success', JSON.stringify(body));
    return body.data;
  };
  await until('prometheus answers', async () => {
    assert.equal(child.exitCode, null, said);
    return await fetch(`http://${address}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  });
  return {
    get,
    query: async (query) => {
      const answer = await get(`/api/v1/query?query=${encodeURIComponent(query)}`);
      return (answer as { readonly result: readonly Sample[] }).result;
    },
    usePassword,
    stop: async () => {
      await stopProcess(child);
      await rm(join(folder, 'data'), { recursive: true, force: true });
    },
  };
}

/** What docs/metrics.md says of a wrong password. */
async function expectRefusal(prometheus: Prometheus): Promise<void> {
  let error = '';
  await until('the page Targets says 401', async () => {
    const { activeTargets } = (await prometheus.get('/api/v1/targets')) as {
      readonly activeTargets: readonly { readonly lastError: string }[];
    };
    error = activeTargets[0]?.lastError ?? '';
    return error !== '';
  });
  assert.equal(error, 'server returned HTTP status 401 Unauthorized');
}

async function expectAll(orthanc: Orthanc, prometheus: Prometheus): Promise<void> {
  const { ID } = await upload(orthanc, 1);
  await until('Orthanc is up', async () => {
    const [sample] = await prometheus.query('up{job="orthanc"}');
    return sample?.value[1] === '1';
  });
  // A rise is seen between two scrapes.
  await read(orthanc, ID);
  await upload(orthanc, 2);
  const metrics = METRIC_GROUPS.flatMap(({ metrics }) => metrics);
  for (const { name } of metrics) {
    await until(`there is ${name}`, async () => {
      return (await prometheus.query(`${METRIC_PREFIX}${name}`)).length === 1;
    });
  }
  await until('the stores are counted', async () => {
    const [sample] = await prometheus.query(`increase(${METRIC_PREFIX}create_count[1m])`);
    return Number(sample?.value[1]) > 0;
  });
  const dashboard = JSON.parse(
    await readFile(inProject('deploy', 'monitoring', 'grafana', 'dashboard.json'), 'utf8'),
  ) as { readonly panels: readonly { readonly targets?: readonly { readonly expr: string }[] }[] };
  const queries = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  for (const query of queries) {
    const asked = query.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '1m');
    await until(`the dashboard's query has an answer: ${asked}`, async () => {
      return (await prometheus.query(asked)).length > 0;
    });
  }
  const rules = await prometheus.get('/api/v1/rules');
  for (const { name, health, lastError, state } of rulesOf(rules)) {
    assert.equal(health, 'ok', `${name}: ${lastError}`);
    // Until a moment ago, the password was wrong.
    if (name !== 'OrthancDown') assert.equal(state, 'inactive', name);
  }
  console.log(
    `  ${metrics.length} metrics, ${queries.length} queries, ${rulesOf(rules).length} alerts`,
  );
}

/** The shortest way to an alert: one with no time to wait. */
async function expectAlert(world: World, orthanc: Orthanc, prometheus: Prometheus): Promise<void> {
  world.proxy.setFault(() => ({ kind: 'answer', status: 403 }));
  const answer = await request(orthanc, 'POST', '/instances', dicom(3));
  assert.equal(answer.status, 500);
  await until('ObjectStorageDenied fires, and ObjectStorageErrors does not', async () => {
    const rules = rulesOf(await prometheus.get('/api/v1/rules'));
    const stateOf = (wanted: string) => rules.find(({ name }) => name === wanted)?.state;
    return (
      stateOf('ObjectStorageDenied') === 'firing' && stateOf('ObjectStorageErrors') === 'inactive'
    );
  });
  const alerts = (await prometheus.get('/api/v1/alerts')) as {
    readonly alerts: readonly { readonly annotations: Readonly<Record<string, string>> }[];
  };
  const summaries = alerts.alerts.map(({ annotations }) => annotations['summary'] ?? '');
  const { host } = new URL(orthanc.url);
  assert.ok(
    summaries.some((summary) => summary.includes(`The store of ${host} refuses requests`)),
    summaries.join('\n'),
  );
}

interface Rule {
  readonly name: string;
  readonly state: string;
  readonly health: string;
  readonly lastError?: string;
}

function rulesOf(answer: unknown): readonly Rule[] {
  const { groups } = answer as { readonly groups: readonly { readonly rules: readonly Rule[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

const dicom = (number: number) =>
  makeDicom({ sopInstanceUid: `1.2.3.${number}`, pixelBytes: 10_000 });

const request = (orthanc: Orthanc, method: string, path: string, body?: Uint8Array) =>
  orthanc.request(method, path, body, {
    authorization: `Basic ${Buffer.from(`prometheus:${PASSWORD}`).toString('base64')}`,
  });

async function upload(orthanc: Orthanc, number: number): Promise<{ readonly ID: string }> {
  const answer = await request(orthanc, 'POST', '/instances', dicom(number));
  assert.equal(answer.status, 200, answer.body.toString());
  return JSON.parse(answer.body.toString()) as { readonly ID: string };
}

async function read(orthanc: Orthanc, id: string): Promise<void> {
  assert.equal((await request(orthanc, 'GET', `/instances/${id}/file`)).status, 200);
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`after ${LIMIT_MS} ms it does not hold: ${what}`);
    await sleep(250);
  }
}

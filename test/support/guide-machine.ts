// SPDX-License-Identifier: GPL-3.0-or-later
// The machine of a reader of the docs: a real Orthanc with a password, laid out as Debian's package does it, a real store, and a shell.

import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { ensureBox, runInBox, runInBoxOrFail, spawnInBox } from '../../scripts/lib/box.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { freePort } from '../../scripts/lib/ports.mjs';
import { waitForExit } from '../../scripts/lib/run.mjs';
import { startS3 } from '../../scripts/services.mjs';
import { makeDicom } from './dicom.ts';
import { type Block, patternOf, readBlocks } from './guide.ts';
import { boxName, plugin } from './world.ts';

const START_LIMIT_MS = 60_000;
export const USER = 'alice';
/** Which no URL could hold. */
const PASSWORD = 'p@ss/w#rd';
const authorization = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`;

/** Folders of a machine, and where they are instead. The first that fits counts. */
const FOLDERS = [
  ['/usr/share/orthanc/plugins', 'plugins'],
  ['/usr/local/bin', 'bin'],
  ['/var/lib/orthanc', 'lib'],
  ['/var/log/orthanc', 'log'],
  ['/var/backups', 'backups'],
  ['/var/cache', 'cache'],
  ['/etc/orthanc', 'etc'],
] as const;

export interface Machine {
  readonly folder: string;
  readonly instances: ReadonlyMap<string, Buffer>;
  /** Types blocks of the docs into one shell, and expects what stands below each.
   *  @param heading of whatever level; all blocks below it are typed
   *  @param numbers only these of them */
  readonly follow: (page: string, heading: string, ...numbers: readonly number[]) => Promise<void>;
  /** @returns what was printed, in the docs' words, and the exit status */
  readonly type: (commands: string) => Promise<string>;
  readonly ask: (method: string, path: string, body?: Uint8Array | string) => Promise<Answer>;
  /** New instances, each of a study of its own. */
  readonly storeSome: (count?: number) => Promise<void>;
  /** Each instance that was stored is what it was. */
  readonly expectAllReadable: () => Promise<void>;
  readonly isRunning: () => boolean;
  readonly restart: () => Promise<void>;
  readonly startStore: () => Promise<void>;
  readonly stopStore: () => Promise<void>;
  readonly log: () => Promise<string>;
  readonly close: () => Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly bytes: Buffer;
}

/** For who writes what stands below a block: OOS_GUIDE=show prints it, and compares nothing. */
const isShown = process.env['OOS_GUIDE'] === 'show';

/** The places of all blocks that were typed, by whatever machine. */
export const typed = new Set<string>();

export async function createMachine(options: { readonly hasPassword?: boolean } = {}) {
  const { hasPassword = true } = options;
  const box = await ensureBox(boxName);
  const folder = await mkdtemp(join(tmpdir(), 'oos-guide-'));
  await chmod(folder, 0o755);
  for (const [, name] of FOLDERS) await mkdir(join(folder, name));
  await mkdir(join(folder, 'root'));
  await symlink(inProject('dist'), join(folder, 'dist'));
  const httpPort = await freePort();
  const url = `http://127.0.0.1:${httpPort}`;
  await writeFile(
    join(folder, 'etc', 'orthanc.json'),
    // What Debian's package says there, as far as it matters here.
    `// Debian's own
{
  "Name": "Guide", /* a comment */
  "StorageDirectory": "${folder}/lib/db-v6",
  "IndexDirectory": "${folder}/lib/db-v6",
  "Plugins": ["${folder}/plugins"],
  "HttpPort": ${httpPort},
  "DicomPort": ${await freePort()},
  "RemoteAccessAllowed": false,
  "AuthenticationEnabled": ${hasPassword},
  "RegisteredUsers": { "${USER}": "${PASSWORD}" },
}
`,
  );
  const storePort = await freePort();
  const openStore = () => startS3({ folder: join(folder, 'store'), port: storePort });
  let store = await openStore();
  await store.createBucket('my-orthanc');
  await runInBoxOrFail(
    box,
    ['chown', 'orthanc:orthanc', ...['lib', 'log'].map((name) => join(folder, name))],
    { binds: [folder] },
  );

  let orthanc: { readonly child: ChildProcess; readonly ended: Promise<number> } | undefined;
  async function start(): Promise<void> {
    const output = openSync(join(folder, 'log', 'output'), 'a');
    const child = spawnInBox(
      box,
      [...asUser('orthanc'), 'Orthanc', `--logdir=${folder}/log`, join(folder, 'etc')],
      { stdio: ['ignore', output, output], binds: [folder] },
    );
    closeSync(output);
    orthanc = { child, ended: waitForExit(child) };
    const deadline = performance.now() + START_LIMIT_MS;
    while (performance.now() < deadline && child.exitCode === null && child.signalCode === null) {
      const answer = await fetch(`${url}/system`).catch(() => undefined);
      if (answer !== undefined) return;
      await sleep(50);
    }
  }
  async function stop(): Promise<void> {
    orthanc?.child.kill('SIGTERM');
    const status = await orthanc?.ended;
    orthanc = undefined;
    // Nothing at all, refused, or stopped; not crashed.
    expect([undefined, 0, 255]).toContain(status);
  }
  const restart = async () => {
    await stop();
    await start();
  };
  const control = await startControl({ '/stop': stop, '/start': start, '/restart': restart });
  await writeTools(join(folder, 'bin'), (control.address() as AddressInfo).port);

  const places: readonly (readonly [string, string])[] = [
    ['127.0.0.1:8042', `127.0.0.1:${httpPort}`],
    ['dist/libOrthancObjectStorage.so', plugin],
    ...FOLDERS.map(([there, name]) => [there, join(folder, name)] as const),
    ['alice:the password', `${USER}:${PASSWORD}`],
    // Of this machine's store.
    ['"Region": "eu-central-1"', `"Region": "${store.region}", "Endpoint": "${store.endpoint}"`],
    ['"AccessKey": "…"', `"AccessKey": "${store.accessKey}"`],
    ['"SecretKey": "…"', `"SecretKey": "${store.secretKey}"`],
  ];
  async function run(commands: string): Promise<string> {
    const mapped = places.reduce((all, [from, to]) => all.replaceAll(from, to), commands);
    const { stdout } = await runInBox(box, ['bash', '-c', `exec 2>&1\n${mapped}`], {
      cwd: folder,
      env: { PATH: `${folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin`, HOME: join(folder, 'root') },
      binds: [folder],
    });
    // Whatever happens.
    expect(stdout).not.toContain(PASSWORD);
    expect(stdout).not.toContain(store.secretKey);
    return places.reduce((all, [from, to]) => all.replaceAll(to, from), stdout);
  }
  async function typeBlocks(blocks: readonly Block[]): Promise<void> {
    const script = blocks.map(({ commands }) => `${commands}printf '\\036%d\\036' $?\n`);
    const parts = (await run(script.join(''))).split('\u001e');
    for (const [index, { place, prints }] of blocks.entries()) {
      const [printed = '', status] = parts.slice(2 * index, 2 * index + 2);
      if (isShown) process.stdout.write(`\n${place} (${status})\n${printed}`);
      else if (prints === undefined) expect([place, printed, status]).toEqual([place, '', '0']);
      else expect(`${place}\n${printed}`).toMatch(patternOf(`${place}\n${prints}`));
      typed.add(place);
    }
  }
  const ask: Machine['ask'] = async (method, path, body) => {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: hasPassword ? { authorization } : {},
      ...(body === undefined ? {} : { body }),
    });
    return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()) };
  };
  const instances = new Map<string, Buffer>();

  const machine: Machine = {
    folder,
    instances,
    follow: async (page, heading, ...numbers) => {
      const all = await readBlocks(page);
      const below = all.filter(
        ({ headings, mark }) => headings.includes(heading) && mark === undefined,
      );
      const chosen =
        numbers.length === 0 ? below : below.filter((_, index) => numbers.includes(index));
      if (chosen.length === 0 || chosen.length < numbers.length) {
        throw new Error(`${page}, "${heading}" has ${below.length} blocks`);
      }
      await typeBlocks(chosen);
    },
    type: (commands) => run(`${commands}\necho "exit $?"`),
    ask,
    storeSome: async (count = 5) => {
      for (let number = 0; number < count; number++) {
        const { size } = instances;
        const file = makeDicom({
          sopInstanceUid: `1.2.77.${size}`,
          patientId: `PATIENT-${size}`,
          pixelBytes: 20_000,
        });
        const { status, bytes } = await ask('POST', '/instances', file);
        expect(status).toBe(200);
        const { ID } = JSON.parse(bytes.toString()) as { readonly ID: string };
        instances.set(ID, Buffer.from(file));
      }
    },
    expectAllReadable: async () => {
      for (const [id, file] of instances) {
        const { status, bytes } = await ask('GET', `/instances/${id}/file`);
        expect([status, bytes.equals(file)]).toEqual([200, true]);
      }
    },
    isRunning: () => orthanc !== undefined && orthanc.child.exitCode === null,
    restart,
    startStore: async () => {
      store = await openStore();
    },
    stopStore: () => store.stop(),
    log: () => readFile(join(folder, 'log', 'Orthanc.log'), 'utf8'),
    close: async () => {
      await stop();
      control.close();
      await store.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return machine;
}

const asUser = (user: string) => [
  'setpriv',
  `--reuid=${user}`,
  '--regid=orthanc',
  '--clear-groups',
];

/** What a machine has, and a box has not. */
async function writeTools(bin: string, controlPort: number): Promise<void> {
  const tools: Readonly<Record<string, string>> = {
    apt: 'exit 0',
    'orthanc-object-storage': `exec node ${inProject('dist/cli.js')} "$@"`,
    systemctl: `exec 3<>/dev/tcp/127.0.0.1/${controlPort}; printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' "$1" >&3; cat <&3 >/dev/null`,
    sudo: `exec ${asUser('"$2"').join(' ')} "\${@:3}"`,
  };
  for (const [name, script] of Object.entries(tools)) {
    await writeFile(join(bin, name), `#!/bin/bash\n${script}\n`);
    await chmod(join(bin, name), 0o755);
  }
}

/** systemctl's other end. */
async function startControl(
  actions: Readonly<Record<string, () => Promise<void>>>,
): Promise<Server> {
  const server = createServer((request, response) => {
    const action = actions[request.url ?? ''] ?? (() => Promise.resolve());
    action().then(
      () => response.end(),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return server;
}

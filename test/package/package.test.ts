// SPDX-License-Identifier: GPL-3.0-or-later
// The package in a Debian that has nothing of ours, and is booted: what its users do, in their order. By npm run package:test

import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type BootedRoot, bootRoot } from '../../scripts/lib/booted-root.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { type S3Service, startS3 } from '../../scripts/services.mjs';
import { makeDicom } from '../support/dicom.ts';
import { patternOf, readBlocks } from '../support/guide.ts';
import { takeSlashesAway } from '../support/sample.ts';

const {
  OOS_FRESH_ROOT: freshRoot = '',
  OOS_EARLIER_PACKAGES: earlierPackages = '',
  OOS_PACKAGES: presentPackages = '',
  OOS_OUTER_NETWORK: outerNetwork = '',
} = process.env;

const ORTHANC = 'http://127.0.0.1:8042';
const PAGE = 'docs/installing.md';
const SETTINGS = '/etc/orthanc/object-storage.json';
const LINK = '/usr/share/orthanc/plugins/libOrthancObjectStorage.so';
const DROP_IN = '/etc/systemd/system/orthanc.service.d/hardened.conf';
const BUCKET = 'my-orthanc';

/** 40 words a minute: of somebody who types, but not for a living. */
const CHARACTERS_A_MINUTE = 200;
const TYPING_LIMIT_MINUTES = 2;
const SLASHES = '//';
/** Such as "/SecretKey" and Enter. */
const SEARCH_KEYS = 11;

let root: BootedRoot;
let store: S3Service;

beforeAll(async () => {
  root = await bootRoot(freshRoot);
  store = await startS3();
  await store.createBucket(BUCKET);
});

// systemd refuses a sixth start within ten seconds, and administrators are slower.
beforeEach(() => root.run(['systemctl', 'reset-failed', 'orthanc']));

afterAll(async () => {
  await root?.stop();
  await store?.stop();
});

/** In the booted Debian, as root. @returns what it printed, standard error included */
async function sh(script: string, options: { readonly network?: string } = {}): Promise<string> {
  const command = ['bash', '-euc', `exec 2>&1\ncd /root\n${script}`];
  const { code, stdout } = await root.run(command, {
    ...options,
    env: { DEBIAN_FRONTEND: 'noninteractive' },
  });
  const journal = code === 0 ? '' : (await root.run(['journalctl', '--lines=30'])).stdout;
  expect(code, `${script}\n${stdout}\n${journal}`).toBe(0);
  return stdout;
}

/** With the network that apt needs. */
const apt = (script: string) => sh(script, { network: outerNetwork });

async function write(path: string, content: Uint8Array | string): Promise<void> {
  const input = Buffer.from(content).toString('base64');
  const { code } = await root.run(['sh', '-c', 'base64 -d > "$1"', 'sh', path], { input });
  expect(code).toBe(0);
}

/** Puts the package into /root. @returns its name there */
async function bring(packages: string): Promise<string> {
  const [name = ''] = (await readdir(packages)).filter((file) => file.endsWith('.deb'));
  await write(`/root/${name}`, await readFile(join(packages, name)));
  return name;
}

/** Its unit is active as soon as it is started. */
async function untilOrthancAnswers(): Promise<void> {
  await vi.waitFor(async () => expect((await fetch(`${ORTHANC}/system`)).status).toBe(200), {
    timeout: 60_000,
    interval: 100,
  });
}

async function post(bytes: Uint8Array): Promise<string> {
  const response = await fetch(`${ORTHANC}/instances`, { method: 'POST', body: bytes });
  expect(response.status).toBe(200);
  return ((await response.json()) as { readonly ID: string }).ID;
}

async function statusOf(instance: string): Promise<number> {
  return (await fetch(`${ORTHANC}/instances/${instance}/file`)).status;
}

async function read(instance: string): Promise<Buffer> {
  const response = await fetch(`${ORTHANC}/instances/${instance}/file`);
  return Buffer.from(await response.arrayBuffer());
}

const plugins = async () => (await (await fetch(`${ORTHANC}/plugins`)).json()) as readonly string[];
const orthancPid = () => sh('systemctl show --value --property=MainPID orthanc');
const orthancLog = () => sh('cat /var/log/orthanc/*.log');
const settings = () => sh(`cat ${SETTINGS}`);
const accessOf = (path: string) => sh(`stat --format='%U:%G %a' ${path}`);

async function objects(): Promise<readonly string[]> {
  const names = await readdir(join(store.folder, 'data', BUCKET), { recursive: true });
  return names.filter((name) => name.endsWith('.dcm'));
}

/** What Orthanc stores without a plugin, beside its index. */
const ownFiles = async () =>
  (await sh("find /var/lib/orthanc/db-v6 -type f -path '*/??/??/*'")).split('\n').filter(Boolean);

/** The settings of the docs, of this machine's store, as lines that the file of the package has under slashes. */
async function wantedSettings(): Promise<string> {
  const [block] = (await readBlocks(PAGE)).filter(({ headings }) =>
    headings.includes('The settings'),
  );
  const [, lines = ''] = /\n\{\n([\s\S]*\n) {2}\}\n\}\n/.exec(block?.commands ?? '') ?? [];
  return `${lines.replaceAll(/^ {2}/gm, '')}},`
    .replace('"Region": "eu-central-1"', `"Region": "${store.region}"`)
    .replace('"AccessKey": "…"', `"AccessKey": "${store.accessKey}"`)
    .replace(
      '"SecretKey": "…"',
      `"SecretKey": "${store.secretKey}",\n  "Endpoint": "${store.endpoint}"`,
    );
}

/** In an editor: the way to each line that changes, by arrows or by a search, the slashes, and what is new. */
function keystrokes(before: string, after: string): number {
  const old = before.split('\n');
  let [sum, from] = [0, 0];
  for (const [index, line] of after.split('\n').entries()) {
    const was = old[index] ?? '';
    if (line === was) continue;
    const kept = was.slice(SLASHES.length);
    sum +=
      Math.min(index - from, SEARCH_KEYS) + SLASHES.length + Math.max(0, line.length - kept.length);
    from = index;
  }
  return sum;
}

const images = [1, 2, 3, 4].map((number) =>
  makeDicom({ sopInstanceUid: `1.2.3.${number}`, patientId: `P${number}`, pixelBytes: 50_000 }),
) as [Buffer, Buffer, Buffer, Buffer];

test('installed, it does nothing: Orthanc keeps its own storage', async () => {
  const name = await bring(earlierPackages);
  await apt('apt-get update');
  const output = await apt(`apt install --yes ./${name}`);
  expect(output).toContain('orthanc-restart-trigger: restarting the Orthanc service');
  await untilOrthancAnswers();
  expect(await plugins()).toContain('object-storage');
  expect(await accessOf(SETTINGS)).toBe('root:orthanc 640\n');
  expect(await orthancLog()).toContain('Orthanc keeps its own storage');
  const instance = await post(images[0]);
  expect(await read(instance)).toEqual(images[0]);
  expect(await ownFiles()).not.toEqual([]);
  expect(await objects()).toEqual([]);
});

test('an upgrade leaves the settings alone and restarts Orthanc, which finds what was stored before', async () => {
  await write(SETTINGS, takeSlashesAway(await settings(), await wantedSettings()));
  await sh('systemctl restart orthanc');
  await untilOrthancAnswers();
  const instance = await post(images[1]);
  expect(await objects()).toHaveLength(1);
  const [before, pid, loaded] = [
    await settings(),
    await orthancPid(),
    await sh(`readlink -f ${LINK}`),
  ];

  // dpkg asks, since both sides have changed. N is the default.
  const output = await apt(`echo | apt install --yes ./${await bring(presentPackages)}`);
  expect(output).toMatch(/default action is to keep (your|the) current version/);
  expect(output).toContain('orthanc-restart-trigger: restarting the Orthanc service');
  await untilOrthancAnswers();
  expect(await orthancPid()).not.toBe(pid);
  expect(await settings()).toBe(before);
  expect(await accessOf(SETTINGS)).toBe('root:orthanc 640\n');
  expect(await sh(`readlink -f ${LINK}`)).not.toBe(loaded);
  expect(await sh(`ls ${loaded.trim()} || true`)).toContain('No such file');
  expect(await read(instance)).toEqual(images[1]);
});

test('an administrator may give the file of the settings to whom he likes', async () => {
  await sh(`chown root:adm ${SETTINGS}; chmod 600 ${SETTINGS}`);
  const [name] = (await readdir(presentPackages)).filter((file) => file.endsWith('.deb'));
  await apt(`apt install --yes --reinstall ./${name}`);
  expect(await accessOf(SETTINGS)).toBe('root:adm 600\n');
  await sh(`chown root:orthanc ${SETTINGS}; chmod 640 ${SETTINGS}`);
});

test('removed, it says what becomes of the bucket; purged, it leaves nothing', async () => {
  const removal = await apt('apt remove --yes orthanc-object-storage');
  expect(removal).toContain('Orthanc goes on without its bucket');
  expect(removal).toContain('orthanc-restart-trigger: restarting the Orthanc service');
  await untilOrthancAnswers();
  expect(await plugins()).not.toContain('object-storage');
  expect(await sh(`ls ${SETTINGS}`)).toBe(`${SETTINGS}\n`);

  await apt('apt purge --yes orthanc-object-storage');
  const places = '/etc /usr /var/lib /opt /home /srv';
  const left = await sh(`find ${places} -iname '*object*storage*' -not -path '/usr/share/man/*'`);
  expect(left).toBe('');
  await untilOrthancAnswers();
});

test('the docs, typed: from the package to the first file in the bucket in two minutes', async () => {
  await sh('rm /root/*.deb; systemctl stop orthanc; rm -rf /var/lib/orthanc/db-v6');
  await bring(presentPackages);
  await write('/root/image.dcm', images[2]);
  const all = await readBlocks(PAGE);
  const steps = ['Debian', 'The settings', 'Check, then start', 'The first image'];
  let characters = 0;
  for (const step of steps) {
    const blocks = all.filter(({ headings }) => headings.at(-1) === step);
    expect(blocks).not.toEqual([]);
    for (const { place, commands, prints } of blocks) {
      if (step === 'The settings') {
        const before = await settings();
        const after = takeSlashesAway(before, await wantedSettings());
        await write(SETTINGS, after);
        characters += `editor ${SETTINGS}\n`.length + keystrokes(before, after);
        continue;
      }
      const printed = commands.startsWith('apt ')
        ? await apt(commands.replace('apt install', 'apt install --yes'))
        : await sh(commands);
      if (prints !== undefined)
        expect(`${place}\n${printed}`).toMatch(patternOf(`${place}\n${prints}`));
      if (commands.startsWith('systemctl')) await untilOrthancAnswers();
      // The first line of the last step puts the file into the bucket; the others look at it.
      const [line = ''] = commands.split('\n');
      if (step !== 'The first image') characters += commands.length;
      else if (line.includes('--data-binary')) characters += line.length + 1;
    }
  }
  expect(await objects()).toHaveLength(2);
  expect(await ownFiles()).toEqual([]);
  const minutes = characters / CHARACTERS_A_MINUTE;
  process.stdout.write(`typing: ${characters} characters, ${minutes.toFixed(1)} minutes\n`);
  expect(minutes).toBeLessThanOrEqual(TYPING_LIMIT_MINUTES);
});

test('the command has its manual page and its completion', async () => {
  expect(await sh('man -w orthanc-object-storage')).toBe(
    '/usr/share/man/man1/orthanc-object-storage.1.gz\n',
  );
  expect(await sh('orthanc-object-storage --version')).toMatch(/^\d+\.\d+\.\d+\n$/);
  const completed = await sh(`
    set +eu
    . /usr/share/bash-completion/bash_completion
    _comp_load orthanc-object-storage 2>/dev/null || __load_completion orthanc-object-storage
    complete -p orthanc-object-storage`);
  expect(completed).toContain('-F _orthanc_object_storage orthanc-object-storage');
});

test('the hardened unit of the docs: it stores, reads and removes', async () => {
  const exposure = async () =>
    (await sh('systemd-analyze security --no-pager orthanc || true')).trim().split('\n').at(-1);
  const before = await exposure();
  const page = await readFile(inProject(PAGE), 'utf8');
  const [, unit = ''] = /^## A hardened service$[\s\S]*?^```ini\n([\s\S]*?)^```$/m.exec(page) ?? [];
  await sh(`mkdir -p $(dirname ${DROP_IN})`);
  await write(DROP_IN, unit);
  await sh('systemctl daemon-reload; systemctl restart orthanc');
  await untilOrthancAnswers();
  process.stdout.write(`${before}\n${await exposure()}\n`);
  const status = await sh('cat /proc/$(systemctl show --value --property=MainPID orthanc)/status');
  expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  expect(status).toMatch(/^Seccomp:\t2$/m);
  expect(status).toMatch(/^CapBnd:\t0+$/m);
  const instance = await post(images[3]);
  expect(await read(instance)).toEqual(images[3]);
  expect(await objects()).toHaveLength(3);
  expect((await fetch(`${ORTHANC}/instances/${instance}`, { method: 'DELETE' })).status).toBe(200);
  expect(await statusOf(instance)).toBe(404);
  expect(await objects()).toHaveLength(2);
});

test('where memory may not become executable, Orthanc does not start, and its log says what to set', async () => {
  await sh(`
    sed -i 's/^MemoryDenyWriteExecute=.*/MemoryDenyWriteExecute=yes/' ${DROP_IN}
    rm -f /var/log/orthanc/*
    systemctl daemon-reload; systemctl restart orthanc`);
  await vi.waitFor(
    async () => expect(await orthancLog()).toContain('does not let Orthanc make memory executable'),
    { timeout: 30_000, interval: 200 },
  );
  await sh(
    `rm ${DROP_IN}; systemctl daemon-reload; systemctl reset-failed orthanc; systemctl restart orthanc`,
  );
  await untilOrthancAnswers();
});

test('the package names what it was made with', async () => {
  const [name = ''] = (await readdir(presentPackages)).filter((file) => file.endsWith('.deb'));
  const depends = await sh(`dpkg-query --show --showformat='\${Depends}' orthanc-object-storage`);
  const [, soname] = /libnode\.so\.(\d+)/.exec(await sh(`ldd ${LINK}`)) ?? [];
  expect(depends.match(/libnode\d+/g)).toEqual([`libnode${soname}`]);
  expect(depends).toContain('orthanc (>= 1.12.4)');
  expect(basename(name)).toMatch(/^orthanc-object-storage_[\d.]+-1(~deb13u1)?_(amd64|arm64)\.deb$/);
});

// SPDX-License-Identifier: GPL-3.0-or-later
// What reaches Orthanc's log at a start that is refused, and the terminal of who runs a command, where a server or a gateway repeats the
// request's URL or writes what is no text.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import zlib from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Binding } from '../../src/plugin/bridge.ts';
import { main } from '../../src/plugin/main.ts';
import { connectionStringOf, failAzure } from '../support/azure-memory.ts';
import { buildCli, type Cli } from '../support/cli.ts';
import { failGoogle } from '../support/google-memory.ts';
import { answerText, expectSafeLine } from '../support/hostile-words.ts';
import { failS3 } from '../support/s3-memory.ts';
import { type ScriptedServer, type Step, startScriptedServer } from '../support/scripted-server.ts';

/** No pattern knows it. */
const SECRET_KEY = 'hunter2-of-the-bucket';
const WORDS = '\u001b[2J\u009b31m\u202efor https://a.test/c?sv=1&sig=hunter2%2F&se=2';

let folder: string;
let cli: Cli;
let server: ScriptedServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'words-'));
  [cli, server] = await Promise.all([buildCli(folder), startScriptedServer()]);
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const PROVIDERS: readonly (readonly [string, () => object, Step])[] = [
  [
    'S3',
    () => ({
      AwsS3Storage: {
        BucketName: 'bucket',
        Region: 'r',
        Endpoint: server.endpoint,
        VirtualAddressing: false,
        AccessKey: 'a',
        SecretKey: SECRET_KEY,
      },
    }),
    failS3(403, 'AccessDenied', { message: WORDS.replaceAll('&', '&amp;') }),
  ],
  [
    'Azure',
    () => ({
      AzureBlobStorage: {
        ConnectionString: connectionStringOf(server),
        ContainerName: 'container',
      },
    }),
    failAzure(403, 'AuthorizationFailure', { message: WORDS.replaceAll('&', '&amp;') }),
  ],
  [
    'Google',
    () => ({ GoogleCloudStorage: { BucketName: 'bucket', Endpoint: server.endpoint } }),
    failGoogle(403, WORDS, 'forbidden'),
  ],
];

/** What the shim is told that prints it. */
async function refusalOf(configuration: object): Promise<string> {
  return await new Promise((resolve) => {
    const binding: Partial<Binding> = {
      lane: 0,
      restarted: false,
      orthancVersion: '1.12.7',
      configuration: () => JSON.stringify(configuration),
      log: () => undefined,
      starting: () => undefined,
      ending: () => undefined,
      release: () => undefined,
      refuse: resolve,
      crc32: zlib.crc32,
    };
    main(binding as Binding);
  });
}

test.each(PROVIDERS)('a refused start shows none of it: %s', async (_name, configure, refuse) => {
  for (const answer of [refuse, answerText(WORDS)]) {
    server.always(answer);
    const [title, line = '', ...more] = (await refusalOf(configure())).split('\n');
    expect(title).toBe('The object storage plugin does not start:');
    expect(line).toContain('for https://a.test/c?sv=1&sig=[secret]&se=2');
    expectSafeLine(line);
    expect(more).toEqual([]);
  }
});

test('a refused configuration has its lines, one for each problem', async () => {
  const section = { BucketNam: 'b', '\u001b[2J': 1, Endpoint: 'http://user:hunter2@host' };
  const lines = (await refusalOf({ AwsS3Storage: section })).split('\n');
  expect(lines.length).toBeGreaterThan(3);
  for (const line of lines) expectSafeLine(line);
});

test('nor does it show a secret of the configuration', async () => {
  const [[, configure]] = PROVIDERS as [(typeof PROVIDERS)[number]];
  server.always(answerText(`there is no ${SECRET_KEY}`));
  expect(await refusalOf(configure())).toContain('there is no [secret]');
});

async function expectSafeOutput(argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cli.start(argv).result;
  expect(code).toBe(1);
  const text = stdout.toString() + stderr;
  expect(text).toContain('sig=[secret]');
  for (const line of text.trimEnd().split('\n')) expectSafeLine(line);
  return text;
}

test.each(PROVIDERS)('a command shows none of it: %s', async (name, configure, refuse) => {
  const file = join(folder, `${name}.json`);
  writeFileSync(file, JSON.stringify(configure()));
  for (const answer of [refuse, answerText(WORDS)]) {
    server.always(answer);
    await expectSafeOutput(['check', '--config', file]);
  }
});

test('a command shows no key that is more than text, and as JSON it is the same', async () => {
  const key = 'a\u001b[2J\u009b\u202e.dcm';
  const [[, configure]] = PROVIDERS as [(typeof PROVIDERS)[number]];
  writeFileSync(join(folder, 'keys.json'), JSON.stringify(configure()));
  server.always(answerText(WORDS));
  const inspect = ['inspect', '--config', 'keys.json', key];
  expect(await expectSafeOutput(inspect)).toContain('a\\u001b[2J\\u009b\\u202e.dcm');
  const json = await expectSafeOutput([...inspect, '--json']);
  expect(JSON.parse(json)).toMatchObject({ name: key });
});

// SPDX-License-Identifier: GPL-3.0-or-later

import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeyFile } from '../../../src/config/encryption.ts';
import { Keyring, readKeyFiles } from '../../../src/encryption/keyring.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyring-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

let files = 0;
function write(content: string | Uint8Array, mode = 0o600): string {
  const path = join(folder, `${files++}.key`);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

const KEY = Buffer.from('3c'.repeat(32), 'hex');
const masterOf = (path: string, id = 1): KeyFile => ({ setting: 'E.MasterKey', id, path });
const previousOf = (index: number, id: number, path: string): KeyFile => ({
  setting: `E.PreviousMasterKeys[${index}]`,
  id,
  path,
});

const problemsOf = (...files: readonly KeyFile[]) => readKeyFiles(files).problems;

function keyringOf(master: KeyFile) {
  const { keys, problems } = readKeyFiles([master]);
  expect(problems).toEqual([]);
  return new Keyring(keys, master.id);
}

describe('key files', () => {
  test.each([
    ['as openssl writes it', `${KEY.toString('base64')}\n`],
    ['without a line end', KEY.toString('base64')],
    ['with Windows line ends and spaces around', `\r\n \t${KEY.toString('base64')} \r\n\r\n`],
  ])('%s', (_, text) => {
    const file = masterOf(write(text), 0xffff_ffff);
    expect(keyringOf(file).find(0xffff_ffff).export()).toEqual(KEY);
    expect(keyringOf(file).ids).toEqual([0xffff_ffff]);
    expect(readKeyFiles([file]).warnings).toEqual([]);
  });

  test('any 32 bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const path = write(Buffer.from(bytes).toString('base64'));
        expect(keyringOf(masterOf(path)).find(1).export()).toEqual(Buffer.from(bytes));
      }),
      { numRuns: 50 },
    );
  });

  test('a link to one, as Kubernetes mounts secrets', () => {
    const path = join(folder, 'link.key');
    symlinkSync(write(KEY.toString('base64')), path);
    expect(problemsOf(masterOf(path))).toEqual([]);
  });

  test.each([
    ['empty', '', 'is empty'],
    ['white space only', ' \n', 'is empty'],
    ['31 bytes', KEY.subarray(1).toString('base64'), 'holds 31 bytes in base64; a key has 32'],
    ['33 bytes', Buffer.alloc(33).toString('base64'), 'holds 33 bytes in base64; a key has 32'],
    ['16 bytes', Buffer.alloc(16, 9).toString('base64'), 'holds 16 bytes in base64; a key has 32'],
    ['48 bytes', Buffer.alloc(48, 9).toString('base64'), 'holds 48 bytes in base64; a key has 32'],
    ['raw bytes', Buffer.alloc(32, 0xe9), 'does not hold base64'],
    ['hexadecimal', KEY.toString('hex'), 'holds 48 bytes in base64; a key has 32'],
    ['base64url', Buffer.alloc(32, 0xff).toString('base64url'), 'does not hold base64'],
    ['without padding', KEY.toString('base64').slice(0, 43), 'does not hold base64'],
    [
      'a line end inside',
      `${KEY.toString('base64').slice(0, 20)}\n${KEY.toString('base64').slice(20)}`,
      'does not hold base64',
    ],
    ['two keys', `${KEY.toString('base64')}\n${KEY.toString('base64')}\n`, 'does not hold base64'],
    ['a PEM', '-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n', 'does not hold base64'],
    ['large', Buffer.alloc(100_000, 'A'), 'is no key file'],
    ['large and blank', Buffer.alloc(100_000, ' '), 'is no key file'],
  ])('%s', (_, content, problem) => {
    const path = write(content);
    const problems = problemsOf(masterOf(path));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(`E.MasterKey: the file "${path}" ${problem}`);
  });

  test('missing, a folder, a device', () => {
    const missing = join(folder, 'nowhere', 'x.key');
    expect(problemsOf(masterOf(missing))).toEqual([`E.MasterKey: there is no file "${missing}"`]);
    mkdirSync(join(folder, 'sub'));
    expect(problemsOf(masterOf(join(folder, 'sub')))[0]).toContain('is not a file');
    expect(problemsOf(masterOf('/dev/zero'))[0]).toContain('is not a file');
  });

  const PEM = `-----BEGIN PRIVATE KEY-----\n${KEY.toString('base64')}\n-----END PRIVATE KEY-----`;
  const RANDOM = '7Jq2/nYx0v+Zb3kPfWYzXQ8QnSk7YmXt9qLrTgHs4dE=';
  test.each([
    ['base64', RANDOM, 'holds the key itself (what looks like a key); write the path of a file'],
    ['base64 without its end', RANDOM.slice(0, -1), 'holds the key itself'],
    ['base64url', RANDOM.replaceAll('/', '_').replaceAll('+', '-'), 'holds the key itself'],
    ['hexadecimal', Buffer.from(RANDOM, 'base64').toString('hex'), 'holds the key itself'],
    ['PEM', PEM, 'holds the key itself (a key or certificate in PEM)'],
    ['PEM, too long for a name', `${PEM}${PEM.repeat(80)}`, 'holds the key itself'],
    ['JSON', `{"k": "${RANDOM}"}`, 'holds the key itself'],
    [
      'a phrase',
      'correct horse battery staple',
      'there is no file (not shown, since it may be the',
    ],
    ['a word', 'hunter2', 'there is no file (not shown, since it may be the secret itself; a path'],
    ['a NUL', 'a\0hunter2', 'the file (not shown, since it may be the secret itself; a path'],
  ])('a key in the place of its path is not repeated: %s', (_, secret, problem) => {
    for (const problems of [
      problemsOf(masterOf(secret)),
      problemsOf(masterOf(write(KEY.toString('base64'))), previousOf(0, 1, secret)),
      problemsOf(masterOf(secret), previousOf(0, 1, secret)),
    ]) {
      expect(problems.join('\n')).toContain(problem);
      expect(problems.join('\n')).not.toContain(secret.slice(2, 12));
    }
  });

  test('unreadable', () => {
    const path = write(KEY.toString('base64'), 0o000);
    // Root reads everything.
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534);
    try {
      expect(problemsOf(masterOf(path))).toEqual([
        `E.MasterKey: the file "${path}" cannot be read by the user that this runs as, uid ${process.geteuid?.()} (EACCES)`,
      ]);
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });

  test.each([
    [0o600, false],
    [0o400, false],
    [0o640, true],
    [0o604, true],
    [0o620, true],
    [0o644, true],
  ])('mode %o: a warning %s', (mode, isWarned) => {
    const path = write(KEY.toString('base64'), mode);
    const { warnings } = readKeyFiles([masterOf(path)]);
    expect(warnings).toHaveLength(isWarned ? 1 : 0);
    if (isWarned) {
      expect(warnings[0]).toContain(`E.MasterKey: the key file "${path}" is open to others`);
    }
  });
});

describe('keyrings', () => {
  test.each([-1, 0.5, 2 ** 32, Number.NaN])('id %d', (id) => {
    const path = write(KEY.toString('base64'));
    expect(problemsOf(masterOf(path, id))[0]).toMatch(/whole number from 0 to 4294967295/);
  });

  test('one id twice, with the same key, another one, or none', () => {
    const [a, b] = [write(KEY.toString('base64')), write(randomBytes(32).toString('base64'))];
    for (const path of [a, b]) {
      expect(problemsOf(masterOf(a), previousOf(0, 1, path))).toEqual([
        `E.PreviousMasterKeys[0]: key id 1 (file "${path}") is that of E.MasterKey too (file "${a}"); give each key an id of its own`,
      ]);
    }
    const missing = join(folder, 'none');
    expect(problemsOf(masterOf(missing), previousOf(0, 1, a))).toEqual([
      `E.MasterKey: there is no file "${missing}"`,
      `E.PreviousMasterKeys[0]: key id 1 (file "${a}") is that of E.MasterKey too (file "${missing}"); give each key an id of its own`,
    ]);
  });

  test('one key under two ids, in two files', () => {
    const [a, b] = [write(KEY.toString('base64')), write(`${KEY.toString('base64')}\n`)];
    expect(problemsOf(masterOf(a), previousOf(0, 2, b))).toEqual([
      `E.PreviousMasterKeys[0]: the file "${b}" holds the same key as E.MasterKey (file "${a}"), under ids 2 and 1; a key has one id`,
    ]);
  });

  test('all problems together, none with a key in it', () => {
    const text = KEY.toString('base64');
    const problems = problemsOf(
      masterOf(join(folder, 'none'), 1),
      previousOf(0, 2, write(`${text}x`)),
      previousOf(1, 3, write(text.slice(4))),
      previousOf(2, 4, write(text)),
      previousOf(3, 5, write(text)),
    );
    expect(problems).toHaveLength(4);
    for (const problem of problems) expect(problem).not.toContain(text.slice(8, 20));
  });

  test('without a master key, for reading only', () => {
    const { keys } = readKeyFiles([previousOf(0, 2, write(KEY.toString('base64')))]);
    const keyring = new Keyring(keys, undefined);
    expect(keyring.master).toBeUndefined();
    expect(keyring.find(2).export()).toEqual(KEY);
  });

  test('nothing prints the key', () => {
    const keyring = keyringOf(masterOf(write(KEY.toString('base64'))));
    const shown = `${inspect(keyring, { depth: 9, showHidden: true })}${JSON.stringify(keyring)}`;
    expect(shown).not.toContain('3c3c');
    expect(shown).not.toContain(KEY.toString('base64').slice(0, 10));
  });
});

// SPDX-License-Identifier: GPL-3.0-or-later
// The commands that need no bucket, as users run them.

import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { expectSameBytes, makeBytes } from '../support/bodies.ts';
import { buildCli, type Cli } from '../support/cli.ts';
import { fixturePath, OTHER_UUID, UUID, vectorContent } from '../unit/encryption/support.ts';

let folder = '';
let cli: Cli;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tools-'));
  cli = await buildCli(folder);
  writeConfiguration('a1.json', { MasterKey: [1, fixturePath('a1', 'key-1.b64')] });
  writeConfiguration('a2.json', {
    MasterKey: [3, fixturePath('a1', 'key-3.b64')],
    PreviousMasterKeys: [[1, fixturePath('a1', 'key-1.b64')]],
    Format: 'A2',
  });
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function writeConfiguration(name: string, encryption: object): void {
  const section = { BucketName: 'b', Region: 'r', StorageEncryption: encryption };
  writeFileSync(join(folder, name), JSON.stringify({ AwsS3Storage: section }));
}

const run: Cli['run'] = (argv, input) => cli.run(argv, input);

const write = (name: string, bytes: Uint8Array) => {
  writeFileSync(join(folder, name), bytes);
};
const read = (name: string) => readFileSync(join(folder, name));

describe('keygen makes a key', () => {
  test('that the plugin takes, for its owner alone, and overwrites none', () => {
    expect(run(['keygen', 'new.key']).code).toBe(0);
    const text = read('new.key').toString();
    expect(Buffer.from(text, 'base64')).toHaveLength(32);
    expect(statSync(join(folder, 'new.key')).mode & 0o777).toBe(0o600);
    const again = run(['keygen', 'new.key']);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('is there already');
    expect(read('new.key').toString()).toBe(text);
    const { stdout } = run(['keygen', '--json', 'other.key']);
    expect(JSON.parse(stdout.toString())).toEqual({ file: join(folder, 'other.key') });
    expect(read('other.key').toString()).not.toBe(text);
  });
});

describe('keygen', () => {
  const path = (name: string) => join(folder, name);
  const keygen = (config: string, file: string, ...options: readonly string[]) =>
    run(['keygen', '--config', config, ...options, file]);
  /** What is printed to be pasted, as Orthanc reads it. */
  const sectionsIn = (text: string) =>
    [...text.matchAll(/^"StorageEncryption": \{$[^}]*^\}$/gm)].map(
      ([section]) =>
        (JSON.parse(`{${section}}`) as { readonly StorageEncryption: unknown }).StorageEncryption,
    );

  test('without --config does not guess an id', () => {
    const { stdout } = run(['keygen', 'unknown.key']);
    expect(stdout.toString()).toContain('Which ids other keys have is not known without --config');
    expect(stdout.toString()).toContain(`"MasterKey": [ID, "${path('unknown.key')}"]`);
    expect(stdout.toString()).not.toMatch(/\[1,/);
  });

  test('the first key', () => {
    writeFileSync(path('none.json'), JSON.stringify({ GoogleCloudStorage: { BucketName: 'b' } }));
    const { code, stdout } = keygen('none.json', 'first.key');
    const text = stdout.toString();
    expect([code, text]).toEqual([
      0,
      expect.stringContaining('with the id 1. GoogleCloudStorage.Stor'),
    ]);
    expect(sectionsIn(text)).toEqual([{ Enable: true, MasterKey: [1, path('first.key')] }]);
  });

  test('a rotation: the next free id, and both sections, complete', () => {
    const keys = {
      MasterKey: [7, path('7.key')],
      PreviousMasterKeys: [
        [2, '/2.key'],
        [9, '/9.key'],
      ],
    };
    const rest = { Format: 'A2', MaxConcurrentInputSize: 64 };
    writeConfiguration('rotation.json', { ...keys, ...rest });
    const { stdout } = keygen('rotation.json', 'next.key');
    const next = [10, path('next.key')];
    const [second, ninth] = keys.PreviousMasterKeys;
    const expected = [
      { Enable: true, ...keys, PreviousMasterKeys: [second, ninth, next], ...rest },
      {
        Enable: true,
        MasterKey: next,
        PreviousMasterKeys: [keys.MasterKey, second, ninth],
        ...rest,
      },
    ];
    expect(sectionsIn(stdout.toString())).toEqual(expected);
    expect(stdout.toString()).toContain('check --config rotation.json');
    const json = JSON.parse(keygen('rotation.json', 'json.key', '--json').stdout.toString()) as {
      readonly steps: readonly { readonly section: object }[];
    };
    expect(json).toMatchObject({
      file: path('json.key'),
      setting: 'AwsS3Storage.StorageEncryption',
      id: 10,
    });
    expect(json.steps.map(({ section }) => section)).toEqual(
      JSON.parse(JSON.stringify(expected).replaceAll('next.key', 'json.key')),
    );
    // Nothing is changed.
    expect(JSON.parse(read('rotation.json').toString())).toMatchObject({
      AwsS3Storage: { StorageEncryption: { ...keys, ...rest } },
    });
  });

  test('what it prints is what `check` takes', () => {
    run(['keygen', 'former.key']);
    writeConfiguration('pasted.json', { MasterKey: [1, path('former.key')] });
    const credentials = { AccessKey: 'a', SecretKey: 's' };
    const section = {
      BucketName: 'b',
      Region: 'r',
      Endpoint: 'http://127.0.0.1:9',
      ...credentials,
    };
    for (const StorageEncryption of sectionsIn(
      keygen('pasted.json', 'pasted.key').stdout.toString(),
    )) {
      const AwsS3Storage = { ...section, StorageEncryption, MaxRetries: 0 };
      writeFileSync(path('pasted.json'), JSON.stringify({ AwsS3Storage }));
      const { stderr } = run(['check', '--config', 'pasted.json']);
      expect(stderr).toMatch(/nobody listens at/);
      expect(stderr).not.toMatch(/StorageEncryption|Key/);
    }
  });

  test('the key that the configuration names already has its id', () => {
    writeConfiguration('named.json', { MasterKey: [5, path('named.key')] });
    const text = keygen('named.json', 'named.key').stdout.toString();
    expect(text).toContain('with the id 5: AwsS3Storage.StorageEncryption names it already.');
    expect(sectionsIn(text)).toEqual([]);
  });

  test.each<[object, RegExp]>([
    [{ MasterKey: '/a.key' }, /\.MasterKey: is not \[id, "path/],
    [
      { MasterKey: [1, '/a.key'], PreviousMasterKeys: [2, '/b.key'] },
      /\.PreviousMasterKeys\[0\]: is not/,
    ],
    [{ MasterKey: [1, Buffer.alloc(32, 7).toString('base64')] }, /\.MasterKey: holds a key itself/],
  ])('where ids are not known, as with %j, no key is made', (encryption, message) => {
    writeConfiguration('unclear.json', encryption);
    const { code, stdout, stderr } = keygen('unclear.json', 'unclear.key');
    expect([code, stdout.toString()]).toEqual([1, '']);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain(Buffer.alloc(32, 7).toString('base64'));
    expect(existsSync(path('unclear.key'))).toBe(false);
  });

  test.runIf(process.geteuid?.() === 0)('the owner of Orthanc’s files is to own the key', () => {
    const StorageDirectory = path('of-somebody');
    mkdirSync(StorageDirectory);
    chownSync(StorageDirectory, 12_345, 12_345);
    writeConfiguration('owned.json', {});
    const configuration = JSON.parse(read('owned.json').toString()) as object;
    writeFileSync(path('owned.json'), JSON.stringify({ ...configuration, StorageDirectory }));
    const text = keygen('owned.json', 'its own.key').stdout.toString();
    expect(text).toContain(`\n  chown 12345 '${path('its own.key')}'\n`);
    expect(text).toContain(
      "\n  sudo -u '#12345' orthanc-object-storage check --config owned.json\n",
    );
    const json = keygen('owned.json', 'owned.key', '--json').stdout.toString();
    expect(JSON.parse(json)).toMatchObject({ chown: `chown 12345 ${path('owned.key')}` });
    chownSync(StorageDirectory, 0, 0);
    expect(keygen('owned.json', 'root.key').stdout.toString()).not.toContain('chown');
  });

  test('a folder of Orthanc’s that cannot be looked at tells no owner, and stops nothing', () => {
    const StorageDirectory = path('leads-to-itself');
    symlinkSync(StorageDirectory, StorageDirectory);
    writeFileSync(
      path('hidden.json'),
      JSON.stringify({ StorageDirectory, AwsS3Storage: { BucketName: 'b' } }),
    );
    const { code, stdout } = keygen('hidden.json', 'hidden.key');
    expect([code, stdout.toString()]).toEqual([0, expect.stringContaining('with the id 1.')]);
    expect(stdout.toString()).not.toContain('chown 0');
  });

  test('a full disk leaves no empty file, in whose place no key could be made again', () => {
    const before = readdirSync(folder);
    const command = 'ulimit -f 0; node cli.cjs keygen full.key 2>&1 | cat';
    const { stdout } = spawnSync('sh', ['-c', command], { cwd: folder });
    expect(stdout.toString()).toBe('full.key: cannot be written (EFBIG)\n');
    expect(readdirSync(folder)).toEqual(before);
  });
});

describe('an address with a password in it', () => {
  test.each([
    ['verify', '--config', 'a1.json', '--orthanc', 'http://user:99#zq@127.0.0.1:8042'],
    ['migrate', '--config', 'a1.json', '--orthanc=http://user:99/zq@127.0.0.1:8042'],
    ['rekey', '--config', 'a1.json', '--orthanc', 'http://user:99?zq@127.0.0.1:8042'],
    ['locate', 'studies', 'id', '--config', 'a1.json', '--orthanc', 'zq'],
    // Those that are misspelt, or stand where something else is expected.
    ['verify', '--config', 'a1.json', '--orthnac=http://user:zq@127.0.0.1:8042'],
    ['locate', 'http://user:99/zq@127.0.0.1:8042', 'id', '--config', 'a1.json'],
    ['migrate', '--config', 'a1.json', '--parallel', 'http://user:99#zq@127.0.0.1:8042'],
    ['http://user:99/zq@127.0.0.1:8042'],
  ])('%s %s %s %s %s is wrong usage, and nothing of it is repeated', (...argv) => {
    const { code, stdout, stderr } = run(argv);
    expect([code, stdout.toString()]).toEqual([2, '']);
    expect(stderr).toMatch(/^error: /);
    expect(stderr).not.toMatch(/zq|99/);
  });
});

describe('check', () => {
  test('opens the key files, and tells their problems together with the rest', () => {
    writeConfiguration('broken.json', { MasterKey: [1, '/nowhere/master.key'], Format: 'A3' });
    const { code, stderr } = run(['check', '--config', 'broken.json']);
    expect(code).toBe(1);
    expect(stderr.split('\n')).toEqual([
      'AwsS3Storage.StorageEncryption.Format: must be one of "A1", "A2", not "A3"',
      'AwsS3Storage.StorageEncryption.MasterKey: there is no file "/nowhere/master.key"',
      '',
    ]);
  });
});

describe('encrypt, inspect, decrypt', () => {
  test('a file of the C++ plugins', () => {
    const result = run(['decrypt', '--config', 'a1.json', fixturePath('a1', 'k1-4095.a1'), '-']);
    expect(result.code, result.stderr).toBe(0);
    expectSameBytes(result.stdout, vectorContent('a1-vector-4095', 4095));
  });

  test.each(['A1', 'A2'])('%s there and back', (format) => {
    const name = `${UUID}.dcm.enc`;
    const content = makeBytes(1_500_000);
    write('in.dcm', content);
    const to = ['--force', '--format', format, 'in.dcm', name];
    const encrypted = run(['encrypt', '--config', 'a2.json', '--json', ...to]);
    expect(encrypted.code, encrypted.stderr).toBe(0);
    expect(JSON.parse(encrypted.stdout.toString())).toMatchObject({ format, keyId: 3 });
    expect(JSON.parse(run(['inspect', '--json', name]).stdout.toString())).toMatchObject({
      name,
      encryption: { format, keyId: 3, contentBytes: 1_500_000 },
    });
    const decrypted = run(['decrypt', '--config', 'a2.json', '--force', name, 'out.dcm']);
    expect(decrypted.code, decrypted.stderr).toBe(0);
    expectSameBytes(read('out.dcm'), content);
  });

  test('through pipes', () => {
    const content = makeBytes(100_000);
    const names = ['--uuid', UUID, '--type', 'dicom', '-', '-'];
    const { stdout } = run(['encrypt', '--config', 'a2.json', ...names], content);
    expect(stdout.toString('latin1', 0, 2)).toBe('A2');
    expectSameBytes(run(['decrypt', '--config', 'a2.json', ...names], stdout).stdout, content);
  });

  test('what is not authentic leaves no output, neither a file nor a byte', () => {
    const content = makeBytes(300_000);
    for (const format of ['A1', 'A2']) {
      const as = ['--uuid', UUID, '--type', 'dicom'];
      const argv = ['encrypt', '--config', 'a2.json', '--format', format, ...as, '-', '-'];
      const object = run(argv, content).stdout;
      object.writeUInt8(object.readUInt8(object.length - 100) ^ 1, object.length - 100);
      write('bad.enc', object);
      const before = readdirSync(folder);
      for (const to of ['bad.out', '-']) {
        const result = run(['decrypt', '--config', 'a2.json', ...as, 'bad.enc', to]);
        expect(result.code).toBe(1);
        expect(result.stderr).toContain('not authentic');
        expect(result.stdout).toHaveLength(0);
      }
      expect(readdirSync(folder)).toEqual(before);
    }
  });

  test('a replaced output stays what it was when the new one fails', () => {
    write('bad.enc', Buffer.from('no object'));
    write('kept.out', Buffer.from('kept'));
    expect(run(['decrypt', '--config', 'a2.json', '--force', 'bad.enc', 'kept.out']).code).toBe(1);
    expect(read('kept.out').toString()).toBe('kept');
    expect(run(['decrypt', '--config', 'a2.json', 'bad.enc', 'kept.out']).stderr).toContain(
      '--force',
    );
  });

  test('an output that is a folder is refused by its name, and nothing is left beside it', () => {
    mkdirSync(join(folder, 'a-folder'));
    write('in.dcm', makeBytes(100));
    const before = readdirSync(folder);
    const argv = ['encrypt', '--config', 'a1.json', '--force', 'in.dcm', 'a-folder'];
    expect(run(argv).stderr).toContain('a-folder: is no file but a folder');
    expect(readdirSync(folder)).toEqual(before);
  });

  test('--force replaces files only: what a link leads to, and never a device', () => {
    write('in.dcm', makeBytes(100));
    write('old.enc', Buffer.from('old'));
    symlinkSync('old.enc', join(folder, 'link.enc'));
    symlinkSync('nowhere', join(folder, 'dangling.enc'));
    spawnSync('mkfifo', [join(folder, 'pipe')]);
    const encrypt = (to: string) =>
      run(['encrypt', '--config', 'a1.json', '--force', 'in.dcm', to]);
    expect(encrypt('link.enc').code).toBe(0);
    expect(read('old.enc').toString('latin1', 0, 2)).toBe('A1');
    expect(readlinkSync(join(folder, 'link.enc'))).toBe('old.enc');
    for (const [to, message] of [
      ['dangling.enc', 'is a link to a file that is not there'],
      ['pipe', 'for standard output write "-"'],
      ['/dev/null', 'for standard output write "-"'],
    ] as const) {
      const { code, stderr } = encrypt(to);
      expect([code, stderr]).toEqual([1, expect.stringContaining(`${to}: `)]);
      expect(stderr).toContain(message);
    }
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
    expect(statSync(join(folder, 'pipe')).isFIFO()).toBe(true);
    expect(readlinkSync(join(folder, 'dangling.enc'))).toBe('nowhere');
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s leaves nothing half written', async (signal, code) => {
    write('large.dcm', makeBytes(40_000_000));
    const before = readdirSync(folder);
    const argv = ['encrypt', '--config', 'a1.json', 'large.dcm', 'large.out'];
    const { child, result } = cli.start(argv);
    while (readdirSync(folder).length === before.length) await sleep(1);
    child.kill(signal);
    expect((await result).code).toBe(code);
    expect(readdirSync(folder)).toEqual(before);
  });

  test('Ctrl-C ends what waits for standard input at once', async () => {
    const names = ['--uuid', UUID, '--type', 'dicom', '-', 'piped.out'];
    const { child, result } = cli.start(['encrypt', '--config', 'a2.json', ...names]);
    await sleep(1_500);
    child.kill('SIGINT');
    const startedMs = performance.now();
    const { code, stderr } = await result;
    expect([code, stderr]).toEqual([130, expect.stringContaining('ended by SIGINT')]);
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  });

  test('a disk that is full is told by the name of the file, of which nothing is left', () => {
    write('in.dcm', makeBytes(1_000_000));
    const before = readdirSync(folder);
    // A limit of sizes, which stops writes in their middle as a full disk does.
    const command = 'ulimit -f 1000; node cli.cjs encrypt --config a1.json in.dcm full.enc';
    const { status, stderr } = spawnSync('sh', ['-c', command], { cwd: folder });
    expect(stderr.toString()).toContain('\nfull.enc: cannot be written (EFBIG)\n');
    expect(status).toBe(1);
    expect(readdirSync(folder)).toEqual(before);
  });

  test('keys in the bucket that tell the opposite are refused', () => {
    write('in.dcm', makeBytes(100));
    const plain = run(['encrypt', '--config', 'a1.json', 'in.dcm', `bucket:${UUID}.dcm`]);
    expect([plain.code, plain.stderr]).toEqual([1, expect.stringContaining(`${UUID}.dcm.enc`)]);
    const sealed = fixturePath('a1', 'k1-4095.a1');
    const named = run(['decrypt', '--config', 'a1.json', sealed, `bucket:${UUID}.dcm.enc`]);
    expect([named.code, named.stderr]).toEqual([1, expect.stringContaining('without ".enc"')]);
  });

  test('names that tell something else', () => {
    write('in.dcm', makeBytes(100));
    const name = `${UUID}.json.enc`;
    expect(run(['encrypt', '--config', 'a2.json', 'in.dcm', name]).code).toBe(0);
    const decrypt = ['decrypt', '--config', 'a2.json', '--force'];
    expect(run([...decrypt, '--type', 'dicom', name, 'x']).code).toBe(1);
    expect(run([...decrypt, '--uuid', OTHER_UUID, name, 'x']).code).toBe(1);
    expect(run([...decrypt, name, 'x']).code).toBe(0);
    const nameless = run(['encrypt', '--config', 'a2.json', 'in.dcm', 'x.enc']);
    expect(nameless.stderr).toContain('say --uuid and --type');
  });

  test('wrong keys, wrong usage', () => {
    writeConfiguration('wrong.json', { MasterKey: [1, '/nowhere/master.key'] });
    const wrong = run(['decrypt', '--config', 'wrong.json', 'a', 'b']);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toBe(
      'AwsS3Storage.StorageEncryption.MasterKey: there is no file "/nowhere/master.key"\n',
    );
    expect(run(['decrypt', 'a', 'b']).code).toBe(2);
    expect(run(['decrypt', '--config', 'a1.json', '--type', 'x', 'a', 'b']).code).toBe(2);
    expect(run(['inspect', 'nowhere']).code).toBe(1);
  });
});

test('rekey without room for temporary files says so before anything else', () => {
  vi.stubEnv('TMPDIR', '/nowhere');
  const { code, stderr } = run(['rekey', '--config', 'a2.json']);
  vi.unstubAllEnvs();
  expect(code).toBe(1);
  expect(stderr).toContain('a temporary file in /nowhere (TMPDIR): cannot be written (ENOENT)\n');
});

test.runIf(process.geteuid?.() === 0)(
  'root does not write into the folder of Orthanc, who could not change what root has made',
  () => {
    const StorageDirectory = join(folder, 'of-orthanc');
    mkdirSync(StorageDirectory);
    chownSync(StorageDirectory, 12_345, 12_345);
    const AwsS3Storage = { BucketName: 'b', Region: 'r', Endpoint: 'http://127.0.0.1:9' };
    write('way-back.json', Buffer.from(JSON.stringify({ StorageDirectory, AwsS3Storage })));
    const argv = ['migrate', '--config', 'way-back.json', '--to', 'file-system'];
    const { code, stderr } = run(argv);
    expect([code, stderr]).toEqual([1, expect.stringContaining("sudo -u '#12345'")]);
    expect(stderr).toContain(`StorageDirectory "${StorageDirectory}": belongs to user 12345`);
  },
);

test('the commands of docs/migrating.md remove attachments from the disk, and nothing else', () => {
  const storage = join(folder, 'a folder', 'db-v6');
  const docs = readFileSync(join(import.meta.dirname, '../../docs/migrating.md'), 'utf8');
  const chapter = docs.split(/^## /m).find((text) => text.startsWith('Removing files')) ?? '';
  const blocks = [...chapter.matchAll(/^```sh\n(.*?)^```/gms)].map(([, block = '']) =>
    block.replaceAll('/var/lib/orthanc/db-v6', `'${storage}'`),
  );
  const shell = (...names: readonly RegExp[]) => {
    const script = names.map((name) => blocks.find((block) => name.test(block)) ?? 'exit 9');
    const done = spawnSync('sh', ['-ec', script.join('')], { cwd: folder });
    expect([done.status, done.stderr.toString()]).toEqual([0, '']);
    return done.stdout.toString();
  };
  const stays = [
    'index',
    'index-shm',
    'index-wal',
    // As others may name theirs.
    '12/34/notes.txt',
    `12/34/${UUID}`,
    `${UUID.slice(0, 2)}/${UUID.slice(2, 4)}/${UUID}.dcm`,
    `${UUID.slice(0, 2)}/${UUID.slice(2, 4)}/more/${UUID}`,
    `backup/${UUID.slice(0, 2)}/${UUID.slice(2, 4)}/${UUID}`,
    UUID,
  ];
  const goes = Array.from({ length: 40 }, () => randomUUID()).map(
    (uuid) => `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`,
  );
  for (const path of [...stays, ...goes]) {
    mkdirSync(dirname(join(storage, path)), { recursive: true });
    writeFileSync(join(storage, path), Buffer.alloc(25_000));
  }
  const files = () =>
    readdirSync(storage, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(storage, join(entry.parentPath, entry.name)))
      .sort();
  expect(shell(/^attachments\(\)/)).toBe('40 attachments, 1.0 MB\n');
  expect(files()).toHaveLength(stays.length + goes.length);
  expect(shell(/^attachments\(\)/, /^attachments -delete/)).toBe('40 attachments, 1.0 MB\n');
  expect(files()).toEqual(stays.toSorted());
  const folders = readdirSync(storage, { withFileTypes: true }).filter((one) => one.isDirectory());
  expect(folders.map(({ name }) => name).sort()).toEqual(['12', UUID.slice(0, 2), 'backup'].sort());
  writeFileSync(
    join(folder, 'found.txt'),
    '{"kind":"orphan","key":"12/34/notes.txt"}\n{"kind":"orphan-on-disk","key":"ab/cd/x","sizeBytes":1}\n',
  );
  mkdirSync(join(storage, 'ab', 'cd'), { recursive: true });
  writeFileSync(join(storage, 'ab/cd/x'), '');
  blocks.push(/^sed .*/m.exec(chapter)?.[0] ?? 'exit 9');
  expect(shell(/^sed /)).toBe('ab/cd/x\n');
  expect(shell(/xargs -r rm/)).toBe("removed 'ab/cd/x'\n");
  expect(files()).toEqual(stays.toSorted());
});

test('output that nobody wants to the end ends the command without a word', () => {
  write('small', Buffer.from('not encrypted'));
  const names = Array.from({ length: 5_000 }, () => 'small').join(' ');
  const command = `node cli.cjs inspect ${names} | head -n 1`;
  const { stdout, stderr } = spawnSync('sh', ['-c', command], { cwd: folder });
  expect([stdout.toString(), stderr.toString()]).toEqual(['small: not encrypted, 13 bytes\n', '']);
});

// SPDX-License-Identifier: GPL-3.0-or-later
// What the packages make of the command line: its completion and its manual page.

import { spawnSync } from 'node:child_process';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { renderBashCompletion } from '../../../src/cli/completion.ts';
import { renderManPage } from '../../../src/cli/man-page.ts';
import { createProgram } from '../../../src/cli/program.ts';

const program = createProgram('1.2.3');

const COMMANDS: readonly (readonly [string, Command])[] = program.commands.flatMap((command) => [
  [command.name(), command] as const,
  ...command.commands.map((each) => [`${command.name()} ${each.name()}`, each] as const),
]);

describe('the completion of bash', () => {
  const script = renderBashCompletion(program);

  /** What bash offers after these words, the last of which is begun. */
  function complete(...words: readonly string[]): readonly string[] {
    const ask = [
      'COMP_CWORD=$(($# - 1)) COMP_WORDS=("$@")',
      '_orthanc_object_storage',
      `printf '%s\\n' "$\{COMPREPLY[@]}"`,
    ];
    const { stdout, stderr } = spawnSync(
      'bash',
      ['--norc', '-c', `${script}\n${ask.join('\n')}`, 'bash', program.name(), ...words],
      { encoding: 'utf8' },
    );
    expect(stderr).toBe('');
    return stdout.split('\n').filter((line) => line !== '');
  }

  test('knows every command', () => {
    const names = program.commands.map((command) => command.name());
    expect(names.length).toBeGreaterThan(5);
    expect(complete('')).toEqual([...names, 'help']);
    expect(complete('ca')).toEqual(['cache']);
    expect(complete('cache', '')).toEqual(['status', 'flush', 'clear', 'help']);
  });

  test.each(COMMANDS)('knows every option of %s', (name, command) => {
    const options = command.options.filter(({ hidden }) => !hidden).map(({ long }) => long);
    expect(complete(...name.split(' '), '--')).toEqual([...options, '--help']);
  });

  test('knows values, and leaves the rest to the names of files', () => {
    expect(complete('migrate', '--to', '')).toEqual(['bucket', 'file-system']);
    expect(complete('rekey', '--config', '/etc/orthanc', '--to', 'A')).toEqual(['A1', 'A2']);
    expect(complete('locate', '--json', 's')).toEqual(['studies', 'series']);
    expect(complete('locate', '--config', '')).toEqual([]);
    expect(complete('keygen', '')).toEqual([]);
  });
});

describe('the manual page', () => {
  const page = renderManPage(createProgram('1.2.3'), '2026-11-30');
  const text = page.replaceAll('\\-', '-').replaceAll('\\e', '\\');

  test('names every command with every option', () => {
    for (const [name, command] of COMMANDS) {
      const [, section = ''] = text.split(new RegExp(`^\\.SS ${name}(?: <.*)?\\n`, 'm'));
      for (const { flags, description, hidden } of command.options) {
        expect(section.includes(`\n.B ${flags}\n${description}`), flags).toBe(!hidden);
      }
    }
  });

  test('has the version, and the examples of the help as they stand there', () => {
    expect(page).toMatch(
      /^\.TH ORTHANC-OBJECT-STORAGE 1 2026-11-30 "orthanc-object-storage 1\.2\.3"/,
    );
    expect(text).toContain(
      '.RS 2\n.nf\northanc-object-storage check --config /etc/orthanc\nsudo -u orthanc',
    );
  });

  test('no line of it is a request that it does not mean', () => {
    const known = [
      '.TH',
      '.SH',
      '.SS',
      '.TP',
      '.PP',
      '.B',
      '.BR',
      '.I',
      '.RS',
      '.RE',
      '.nf',
      '.fi',
    ];
    const requests = page.split('\n').filter((line) => /^[.']/.test(line));
    const names = new Set(requests.map((line) => line.split(' ')[0]));
    expect([...names].filter((name) => !known.includes(name ?? ''))).toEqual([]);
  });
});

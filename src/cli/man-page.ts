// SPDX-License-Identifier: GPL-3.0-or-later
// The manual page, made from the program's own help. Only the packages have it.

import type { Command } from 'commander';

/** @param date of the page, as YYYY-MM-DD */
export function renderManPage(program: Command, date: string): string {
  const name = program.name();
  const title = `.TH ${name.toUpperCase()} 1 ${date} "${name} ${program.version()}" "User Commands"`;
  return [
    title,
    '.SH NAME',
    `${escapeText(name)} \\- tools for the object storage plugin of Orthanc`,
    '.SH SYNOPSIS',
    `.B ${escapeText(name)}`,
    '.I command',
    '[\\fIoptions\\fR]',
    '.SH DESCRIPTION',
    escapeText(program.description()),
    ...renderEpilogue(program),
    ...renderOptions(program),
    '.SH COMMANDS',
    ...program.commands.flatMap((command) => renderCommand(command, '')),
    '.SH FILES',
    '.TP',
    '.I /etc/orthanc/object\\-storage.json',
    'The settings of the plugin. Orthanc reads all files of this folder as one configuration.',
    '.TP',
    '.I /usr/share/doc/orthanc\\-object\\-storage/docs/',
    'The guides: configuration.md, encryption.md, operations.md and others.',
    '.SH SEE ALSO',
    '.BR Orthanc (8)',
    '',
  ].join('\n');
}

/** @param parent the names before its own, with a blank at their end */
function renderCommand(command: Command, parent: string): readonly string[] {
  const name = `${parent}${command.name()}`;
  const operands = command.registeredArguments.map(
    (argument) => ` <${argument.name()}>${argument.variadic ? '...' : ''}`,
  );
  return [
    `.SS ${escapeText(`${name}${operands.join('')}`)}`,
    escapeText(command.description()),
    ...renderArguments(command),
    ...renderOptions(command),
    ...renderEpilogue(command),
    ...command.commands.flatMap((each) => renderCommand(each, `${name} `)),
  ];
}

function renderArguments(command: Command): readonly string[] {
  const help = command.createHelp();
  return help
    .visibleArguments(command)
    .flatMap((argument) => [
      '.TP',
      `.I ${escapeText(help.argumentTerm(argument))}`,
      escapeText(help.argumentDescription(argument)),
    ]);
}

function renderOptions(command: Command): readonly string[] {
  const help = command.createHelp();
  // Without --help, which each command has.
  return command.options
    .filter(({ hidden }) => !hidden)
    .flatMap((option) => [
      '.TP',
      `.B ${escapeText(help.optionTerm(option))}`,
      escapeText(help.optionDescription(option)),
    ]);
}

/** What stands below the options in the help: paragraphs, and indented lines that stay as they are. */
function renderEpilogue(command: Command): readonly string[] {
  let shown = '';
  command.configureOutput({
    writeOut: (text) => {
      shown += text;
    },
  });
  command.outputHelp();
  const lines = shown.slice(command.helpInformation().length).trimEnd().split('\n');
  return lines.flatMap((line, index) => {
    if (line === '') return ['.PP'];
    const isIndented = line.startsWith(' ');
    const begins = isIndented && lines[index - 1]?.startsWith(' ') !== true;
    const ends = isIndented && lines[index + 1]?.startsWith(' ') !== true;
    return [
      ...(begins ? ['.RS 2', '.nf'] : []),
      escapeText(isIndented ? line.slice(2) : line),
      ...(ends ? ['.fi', '.RE'] : []),
    ];
  });
}

/** For roff: no hyphen becomes another sign, and no line a request. */
function escapeText(text: string): string {
  return text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replace(/^[.']/gm, '\\&$&');
}

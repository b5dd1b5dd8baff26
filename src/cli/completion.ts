// SPDX-License-Identifier: GPL-3.0-or-later
// The completion of bash, made from the program's own commands and options. Only the packages have it.

import type { Command } from 'commander';

/** What may follow the words of a command. */
interface Completion {
  /** The names that lead to it: "" for the program, then such as "check" and "cache/status". */
  readonly path: string;
  readonly options: readonly string[];
  /** Its commands, or the values of its first argument. */
  readonly words: readonly string[];
  /** Of options that need a value; none where it can be anything. */
  readonly values: readonly { readonly flag: string; readonly words: readonly string[] }[];
}

export function renderBashCompletion(program: Command): string {
  const name = program.name();
  const all = completionsOf(program, '');
  const paths = all.map(({ path }) => path).filter((path) => path !== '');
  // "/check": the command check, where none came before it.
  const steps = paths.map((path) => (path.includes('/') ? path : `/${path}`));
  const values = all.flatMap(({ path, values }) => values.map((value) => ({ path, ...value })));
  const choiceCases = values
    .filter(({ words }) => words.length > 0)
    .map(({ path, flag, words }) => `    "${path} ${flag}") words="${words.join(' ')}" ;;`);
  const free = values.filter(({ words }) => words.length === 0).map(({ flag }) => `*" ${flag}"`);
  const commandCases = all.map(
    ({ path, options, words }) =>
      `    "${path} "*) words="${words.join(' ')}" options="${options.join(' ')}" ;;`,
  );
  return `# bash completion for ${name}, generated from its commands. Where none of its words fits, bash completes names of files.
_orthanc_object_storage() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]}
  local command="" words="" options="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
    case "$command/$word" in
      ${steps.join(' | ')}) command=\${command:+$command/}$word ;;
    esac
  done
  case "$command $previous" in
${choiceCases.join('\n')}
    ${[...new Set(free)].join(' | ')}) ;;
${commandCases.join('\n')}
  esac
  [[ $current == -* ]] && words=$options
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
} &&
  complete -o bashdefault -o default -F _orthanc_object_storage ${name}
`;
}

function completionsOf(command: Command, path: string): readonly Completion[] {
  const help = command.createHelp();
  const options = help.visibleOptions(command);
  const commands = help.visibleCommands(command).map((each) => each.name());
  const completion = {
    path,
    options: options.flatMap(({ long }) => long ?? []),
    words: commands.length > 0 ? commands : (command.registeredArguments[0]?.argChoices ?? []),
    values: options
      .filter(({ required }) => required)
      .flatMap(({ long, argChoices = [] }) =>
        long === undefined ? [] : [{ flag: long, words: argChoices }],
      ),
  };
  const below = command.commands.flatMap((each) =>
    completionsOf(each, path === '' ? each.name() : `${path}/${each.name()}`),
  );
  return [completion, ...below];
}

// SPDX-License-Identifier: GPL-3.0-or-later

import { Argument, Command } from 'commander';
import { type LocatedAttachment, locate } from '../attachments/locate.ts';
import { StorageError } from '../errors.ts';
import { LEVELS, type Level } from '../orthanc/api.ts';
import { abortWhenInterrupted } from '../tools/common/interruption.ts';
import { CONFIG_OPTION } from '../tools/common/options.ts';
import {
  connectToOrthanc,
  ORTHANC_HELP,
  type OrthancOptions,
  orthancOption,
  orthancPasswordFileOption,
} from '../tools/common/orthanc-http.ts';
import { printJson, printLine } from '../tools/common/output.ts';
import { openSides } from '../tools/common/sides.ts';

interface Options extends OrthancOptions {
  readonly json?: true;
}

export function locateCommand(): Command {
  return new Command('locate')
    .description('Shows where each attachment of a resource of Orthanc is stored.')
    .addArgument(new Argument('<level>').choices(LEVELS))
    .argument('<id>', "Orthanc's id of the resource")
    .requiredOption(...CONFIG_OPTION)
    .addOption(orthancOption())
    .addOption(orthancPasswordFileOption())
    .option('--json', 'prints the result as JSON')
    .addHelpText(
      'after',
      `
Example:
  orthanc-object-storage locate studies 66c8e41e-ac3a9029-0b85e42a-8195ee0a-92c2e62e --config /etc/orthanc
${ORTHANC_HELP}

Exit codes: 0 each is stored somewhere, 1 one is lost or damaged, or there is no such resource, 2 wrong usage.`,
    )
    .action(run);
}

async function run(level: Level, id: string, options: Options): Promise<void> {
  const { signal } = abortWhenInterrupted();
  const sides = await openSides(options.config);
  const { bucket, files } = sides;
  try {
    const found = await locate(
      {
        api: connectToOrthanc(options, { signal }),
        stores: [bucket, ...(files === undefined ? [] : [files])].map((side) => ({
          name: side.isFileSystem ? 'file-system' : 'object-storage',
          attachments: side.attachments,
          isPending: side.isPending,
        })),
      },
      { level, id },
      { signal },
    );
    if (found === undefined) {
      throw new StorageError('NOT_FOUND', `Orthanc has no such resource in ${level}: ${id}`);
    }
    if (options.json === true) printJson(found, 2);
    else for (const attachment of found) printLine(describe(attachment));
    const isLost = ({ stores }: LocatedAttachment) =>
      stores.every(({ damaged }) => damaged === true);
    if (found.some(isLost)) process.exitCode = 1;
  } finally {
    await sides.close();
  }
}

function describe({ level, resource, name, uuid, stores }: LocatedAttachment): string {
  const places = stores.map(
    ({ store, key, storedBytes, pending, damaged }) =>
      `${store} ${key} (${storedBytes} bytes${pending === true ? ', pending' : ''}${damaged === true ? ', DAMAGED: it was cut or altered' : ''})`,
  );
  return `${level} ${resource} ${name}: ${places.length === 0 ? `LOST, uuid ${uuid}` : places.join(', ')}`;
}

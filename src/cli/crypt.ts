// SPDX-License-Identifier: GPL-3.0-or-later
// `encrypt` and `decrypt`: files, standard streams, and objects in the bucket.

import { basename } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { ObjectIdentity } from '../encryption/a2.ts';
import type { Envelope } from '../encryption/envelope.ts';
import type { EncryptionFormat } from '../encryption/sizes.ts';
import { StorageError } from '../errors.ts';
import { ContentType, parseKey } from '../naming.ts';
import { bodyOf } from '../store/bodies.ts';
import { pour, storeOf } from '../store/body-store.ts';
import type { Body, ObjectStore } from '../store/object-store.ts';
import { type Bucket, openBucket, openConfiguredEncryption } from './bucket.ts';
import {
  type Input,
  isFile,
  type Output,
  openInput,
  openOutput,
  STANDARD_STREAM,
} from './files.ts';

interface Options {
  readonly config: string;
  readonly uuid?: string;
  readonly type?: ContentType;
  readonly force?: true;
  readonly json?: true;
  readonly format?: EncryptionFormat;
}

/** Before an operand: an object in the bucket, also where a file has that name. */
const BUCKET_PREFIX = 'bucket:';
const TYPE_NAMES = {
  unknown: ContentType.Unknown,
  dicom: ContentType.Dicom,
  'dicom-as-json': ContentType.DicomAsJson,
  'dicom-until-pixel-data': ContentType.DicomUntilPixelData,
} as const satisfies Record<string, ContentType>;

const OPERANDS = `
IN and OUT are files, "-" for standard input and output, or ${BUCKET_PREFIX}KEY for an object in the bucket; an IN that is no file
and has the form of a key is an object in the bucket, too.
A2 objects are bound to Orthanc's uuid and content type: both are taken from the object's name
(e1f2….dcm.enc), else from --uuid and --type.`;
const EXIT_CODES = '\nExit codes: 0 done, 1 failed and nothing written, 2 wrong usage.';

export function decryptCommand(): Command {
  return common(new Command('decrypt'))
    .description('Decrypts one object, whichever of the configured keys and formats it is in.')
    .addHelpText(
      'after',
      `${OPERANDS}

Examples:
  orthanc-object-storage decrypt --config /etc/orthanc e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc image.dcm
  orthanc-object-storage decrypt --config /etc/orthanc bucket:e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc - | dcmdump -
${EXIT_CODES}`,
    )
    .action(async (from: string, to: string, options: Options) => {
      refuseJsonOnStandardOutput(to, options);
      const { envelope } = openConfiguredEncryption(options.config);
      await withBucket(options.config, [sourceKey(from), keyOf(to)], async (bucket) => {
        const identity = identityOf(from, options);
        const output = openTarget(to, options, bucket);
        try {
          await decryptInto(envelope, from, bucket, identity, output);
          await output.commit();
        } finally {
          output.discard();
        }
        report(options, { from, to });
      });
    });
}

export function encryptCommand(): Command {
  return common(new Command('encrypt'))
    .description('Encrypts one content with the configured master key.')
    .addOption(
      new Option('--format <format>', 'instead of the configured one').choices(['A1', 'A2']),
    )
    .addHelpText(
      'after',
      `${OPERANDS}

Examples:
  orthanc-object-storage encrypt --config /etc/orthanc image.dcm e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc
  orthanc-object-storage encrypt --config /etc/orthanc --format A2 image.dcm bucket:e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc
${EXIT_CODES}`,
    )
    .action(async (from: string, to: string, options: Options) => {
      refuseJsonOnStandardOutput(to, options);
      const { envelope, encryption } = openConfiguredEncryption(options.config);
      const format = options.format ?? encryption.format;
      if (format === undefined) {
        throw new StorageError(
          'BAD_CONFIG',
          'encryption is off in the configuration: say --format',
        );
      }
      await withBucket(options.config, [sourceKey(from), keyOf(to)], async (bucket) => {
        const identity = identityOf(to, options);
        if (format === 'A2' && (identity.uuid === '' || identity.contentType === undefined)) {
          throw new StorageError(
            'BAD_CONFIG',
            `A2 needs the uuid and the content type, which "${to}" does not tell: say --uuid and --type`,
          );
        }
        await encryptInto(envelope, format, from, to, options, bucket, {
          uuid: identity.uuid,
          contentType: identity.contentType ?? ContentType.Unknown,
        });
        report(options, { from, to, format, keyId: envelope.masterKeyId });
      });
    });
}

function common(command: Command): Command {
  return command
    .requiredOption('--config <path>', "Orthanc's configuration file, or its folder of files")
    .option('--uuid <uuid>', "Orthanc's uuid of the attachment, for A2")
    .addOption(
      new Option(
        '--type <type>',
        `content type, for A2: ${Object.keys(TYPE_NAMES).join(', ')}`,
      ).argParser(parseType),
    )
    .option('--force', 'replace OUT if it is there')
    .option('--json', 'print the result as JSON')
    .argument('<in>')
    .argument('<out>');
}

function parseType(text: string): ContentType {
  if (!Object.hasOwn(TYPE_NAMES, text)) {
    throw new InvalidArgumentError(`There are ${Object.keys(TYPE_NAMES).join(', ')}.`);
  }
  return TYPE_NAMES[text as keyof typeof TYPE_NAMES];
}

function identityOf(name: string, options: Options): ObjectIdentity {
  const parsed = parseName(name);
  return {
    uuid: options.uuid ?? parsed?.uuid ?? '',
    contentType: options.type ?? parsed?.contentType,
  };
}

/** What the last part of a file or key tells: as in the flat structure, or a bare uuid as in the legacy one. */
function parseName(name: string) {
  const last = basename(keyOf(name) ?? name);
  const naming = { rootPath: '', structure: 'flat', legacyUnknownFiles: false } as const;
  return (
    parseKey(last, naming) ??
    parseKey(`${last.slice(0, 2)}/${last.slice(2, 4)}/${last}`, { ...naming, structure: 'legacy' })
  );
}

async function decryptInto(
  envelope: Envelope,
  from: string,
  bucket: Bucket | undefined,
  identity: ObjectIdentity,
  output: Output,
): Promise<void> {
  const { signal } = new AbortController();
  const options = { signal, plain: 'refuse' } as const;
  const key = sourceKey(from);
  if (key !== undefined && bucket !== undefined) {
    await envelope.get(bucket.store, key, undefined, output.sink, identity, options);
    return;
  }
  const input = await openInput(from);
  try {
    await envelope.get(storeOf(input.body), from, undefined, output.sink, identity, options);
  } finally {
    input.close();
  }
}

async function encryptInto(
  envelope: Envelope,
  format: EncryptionFormat,
  from: string,
  to: string,
  options: Options,
  bucket: Bucket | undefined,
  identity: ObjectIdentity & { readonly contentType: number },
): Promise<void> {
  const { signal } = new AbortController();
  const fromKey = sourceKey(from);
  const input =
    fromKey === undefined || bucket === undefined
      ? await openInput(from)
      : await download(bucket.store, fromKey);
  try {
    const toKey = keyOf(to);
    if (toKey !== undefined && bucket !== undefined) {
      await refuseExisting(bucket.store, toKey, options);
      await envelope.put(bucket.store, toKey, input.body, identity, { signal, format });
      return;
    }
    const output = openOutput(to, options.force === true);
    try {
      const store = { put: (_key: string, body: Body) => pour(body, output.sink) };
      await envelope.put(store, to, input.body, identity, { signal, format });
      await output.commit();
    } finally {
      output.discard();
    }
  } finally {
    input.close();
  }
}

async function download(store: ObjectStore, key: string): Promise<Input> {
  let bytes = Buffer.alloc(0);
  await store.get(
    key,
    undefined,
    {
      begin: (sizeBytes) => {
        bytes = Buffer.alloc(sizeBytes);
      },
      write: (offset, piece) => {
        bytes.set(piece, offset);
      },
    },
    { signal: new AbortController().signal },
  );
  return { body: bodyOf(bytes), close: () => undefined };
}

/** What is decrypted may go to the bucket too: back under its plain name. */
function openTarget(to: string, options: Options, bucket: Bucket | undefined): Output {
  const key = keyOf(to);
  if (key === undefined || bucket === undefined) return openOutput(to, options.force === true);
  let bytes = Buffer.alloc(0);
  return {
    sink: {
      begin: (sizeBytes) => {
        bytes = Buffer.alloc(sizeBytes);
      },
      write: (offset, piece) => {
        bytes.set(piece, offset);
      },
    },
    async commit() {
      await refuseExisting(bucket.store, key, options);
      await bucket.store.put(key, bodyOf(bytes), { signal: new AbortController().signal });
    },
    discard: () => undefined,
  };
}

async function refuseExisting(store: ObjectStore, key: string, options: Options): Promise<void> {
  if (options.force === true) return;
  const head = await store.head(key, { signal: new AbortController().signal });
  if (head === undefined) return;
  throw new StorageError('BAD_CONFIG', `${key}: is in the bucket already; --force replaces it`);
}

/** Of IN: also a key without the prefix, where no file has its name. */
function sourceKey(operand: string): string | undefined {
  const key = keyOf(operand);
  if (key !== undefined || isFile(operand)) return key;
  return parseName(operand) === undefined ? undefined : operand;
}

/** @returns undefined for a file or a standard stream */
function keyOf(operand: string): string | undefined {
  return operand.startsWith(BUCKET_PREFIX) ? operand.slice(BUCKET_PREFIX.length) : undefined;
}

async function withBucket(
  config: string,
  keys: readonly (string | undefined)[],
  work: (bucket: Bucket | undefined) => Promise<void>,
): Promise<void> {
  const isNeeded = keys.some((key) => key !== undefined);
  const bucket = isNeeded ? await openBucket(config) : undefined;
  try {
    await work(bucket);
  } finally {
    await bucket?.store.close();
  }
}

function refuseJsonOnStandardOutput(to: string, options: Options): void {
  if (options.json === true && to === STANDARD_STREAM) {
    throw new StorageError('BAD_CONFIG', '--json and OUT "-" would mix on standard output');
  }
}

function report(options: Options, result: Readonly<Record<string, unknown>>): void {
  if (options.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
}

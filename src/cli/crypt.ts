// SPDX-License-Identifier: GPL-3.0-or-later
// `encrypt` and `decrypt` for files, standard streams, and objects in the bucket.

import { Command, InvalidArgumentError, Option } from 'commander';
import { ContentType, parseKey } from '../attachments/naming.ts';
import type { NamingSettings } from '../config/settings.ts';
import type { ObjectIdentity } from '../encryption/a2.ts';
import type { Envelope } from '../encryption/envelope.ts';
import { isLookalike } from '../encryption/header.ts';
import { headOf } from '../encryption/inspect.ts';
import type { EncryptionFormat } from '../encryption/sizes.ts';
import { badConfig } from '../errors.ts';
import { bodyOf, MemorySink, pour, storeOf } from '../store/bodies.ts';
import type { Body, ObjectStore, Sink } from '../store/object-store.ts';
import {
  type Input,
  type Output,
  openInput,
  openOutput,
  STANDARD_STREAM,
} from '../tools/common/files.ts';
import { abortWhenInterrupted } from '../tools/common/interruption.ts';
import { CONFIG_OPTION } from '../tools/common/options.ts';
import { printJson } from '../tools/common/output.ts';
import { loadCliSettings, openBucket } from '../tools/common/settings.ts';
import { BUCKET_PREFIX, keyOf, parseName, refuseMisleadingKey, sourceKey } from './operands.ts';

interface Options {
  readonly config: string;
  readonly uuid?: string;
  readonly type?: ContentType;
  readonly force?: true;
  readonly json?: true;
  readonly format?: EncryptionFormat;
}

const TYPE_NAMES = {
  unknown: ContentType.Unknown,
  dicom: ContentType.Dicom,
  'dicom-as-json': ContentType.DicomAsJson,
  'dicom-until-pixel-data': ContentType.DicomUntilPixelData,
} as const satisfies Record<string, ContentType>;

const OPERANDS = `
IN and OUT are files, "-" for standard input and output, or ${BUCKET_PREFIX}KEY for an object in the bucket. An IN that is no file and
has the form of a key is an object in the bucket, too.
A2 objects are bound to Orthanc's uuid and content type. Both are taken from the object's name (e1f2….dcm.enc), else from
--uuid and --type.`;
const EXIT_CODES =
  '\nExit codes: 0 done, 1 failed and nothing was written, 2 wrong usage, 130 ended by Ctrl-C.';

export function decryptCommand(): Command {
  return common(new Command('decrypt'))
    .description('Decrypts one object, in any format, with any of the configured keys.')
    .addHelpText(
      'after',
      `${OPERANDS}

Examples:
  orthanc-object-storage decrypt --config /etc/orthanc e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc image.dcm
  orthanc-object-storage decrypt --config /etc/orthanc bucket:e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc - | dcmdump -
${EXIT_CODES}`,
    )
    .action(decrypt);
}

export function encryptCommand(): Command {
  return common(new Command('encrypt'))
    .description('Encrypts one content with the configured master key.')
    .addOption(
      new Option('--format <format>', 'this format instead of the configured one').choices([
        'A1',
        'A2',
      ]),
    )
    .addHelpText(
      'after',
      `${OPERANDS}

Examples:
  orthanc-object-storage encrypt --config /etc/orthanc image.dcm e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc
  orthanc-object-storage encrypt --config /etc/orthanc --format A2 image.dcm bucket:e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc
${EXIT_CODES}`,
    )
    .action(encrypt);
}

function common(command: Command): Command {
  return command
    .requiredOption(...CONFIG_OPTION)
    .option('--uuid <uuid>', "Orthanc's uuid of the attachment, for A2")
    .option(
      '--type <type>',
      `content type, for A2: ${Object.keys(TYPE_NAMES).join(', ')}`,
      parseType,
    )
    .option('--force', 'replaces OUT if it exists')
    .option('--json', 'prints the result as JSON')
    .argument('<in>')
    .argument('<out>');
}

async function decrypt(from: string, to: string, options: Options): Promise<void> {
  refuseJsonOnStandardOutput(to, options);
  refuseMisleadingKey(to, false);
  await withContext(from, to, options, async (context) => {
    const output = openTarget(to, options, context);
    try {
      await decryptInto(output.sink, from, identityOf(from, options), context);
      await output.commit();
    } finally {
      output.discard();
    }
    if (options.json === true) printJson({ from, to });
  });
}

async function encrypt(from: string, to: string, options: Options): Promise<void> {
  refuseJsonOnStandardOutput(to, options);
  refuseMisleadingKey(to, true);
  await withContext(from, to, options, async (context) => {
    const { envelope } = context;
    const format = options.format ?? envelope.format;
    if (format === undefined) {
      throw badConfig('encryption is off in the configuration: say --format');
    }
    const identity = knownIdentity(to, options, format);
    const input = await openSource(from, context);
    try {
      await encryptInto(to, input.body, format, identity, options, context);
    } finally {
      input.close();
    }
    if (options.json === true) {
      printJson({ from, to, format, keyId: envelope.masterKeyId });
    }
  });
}

interface Context {
  readonly envelope: Envelope;
  readonly naming: NamingSettings;
  /** IN and OUT, if they are in the bucket. */
  readonly source: BucketObject | undefined;
  readonly target: BucketObject | undefined;
  readonly signal: AbortSignal;
}

interface BucketObject {
  readonly bucket: ObjectStore;
  readonly key: string;
}

async function withContext(
  from: string,
  to: string,
  { config }: Options,
  work: (context: Context) => Promise<void>,
): Promise<void> {
  const { signal } = abortWhenInterrupted();
  const { provider, settings, envelope } = loadCliSettings(config);
  if (envelope === undefined) {
    throw badConfig(`${config}: has no keys in ${provider.section}.StorageEncryption`);
  }
  const keys = [sourceKey(from), keyOf(to)];
  const isNeeded = keys.some((key) => key !== undefined);
  const bucket = isNeeded ? await openBucket(provider) : undefined;
  const [source, target] = keys.map((key) =>
    bucket === undefined || key === undefined ? undefined : { bucket, key },
  );
  try {
    await work({ envelope, naming: settings.naming, source, target, signal });
  } finally {
    await bucket?.close();
  }
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

/** @throws StorageError BAD_CONFIG if the format needs more than name and options tell */
function knownIdentity(name: string, options: Options, format: EncryptionFormat) {
  const { uuid, contentType } = identityOf(name, options);
  if (format === 'A2' && (uuid === '' || contentType === undefined)) {
    throw badConfig(
      `A2 needs the uuid and the content type, which "${name}" does not tell: say --uuid and --type`,
    );
  }
  return { uuid, contentType: contentType ?? ContentType.Unknown };
}

async function decryptInto(
  sink: Sink,
  from: string,
  identity: ObjectIdentity,
  { envelope, source, signal }: Context,
): Promise<void> {
  const options = { signal, plain: 'refuse' } as const;
  if (source !== undefined) {
    await envelope.get(source.bucket, source.key, undefined, sink, identity, options);
    return;
  }
  const input = await openInput(from, { signal });
  try {
    await envelope.get(storeOf(input.body), from, undefined, sink, identity, options);
  } finally {
    input.close();
  }
}

async function encryptInto(
  to: string,
  content: Body,
  format: EncryptionFormat,
  identity: ObjectIdentity & { readonly contentType: number },
  options: Options,
  { envelope, target, signal }: Context,
): Promise<void> {
  if (target !== undefined) {
    await refuseExisting(target, options, signal);
    await envelope.put(target.bucket, target.key, content, identity, { signal, format });
    return;
  }
  const output = openOutput(to, options.force === true);
  try {
    const store = { put: (_key: string, body: Body) => pour(body, output.sink, { signal }) };
    await envelope.put(store, to, content, identity, { signal, format });
    await output.commit();
  } finally {
    output.discard();
  }
}

/** @throws StorageError BAD_CONFIG for an object that the plugin would decrypt: it would be encrypted twice */
async function openSource(
  from: string,
  { envelope, naming, source, signal }: Context,
): Promise<Input> {
  if (source === undefined) return await openInput(from, { signal });
  const { bucket, key } = source;
  const memory = new MemorySink();
  await bucket.get(key, undefined, memory, { signal });
  const body = bodyOf(memory.bytes);
  if (areFirstBytesDecisive(key, naming) && envelope.looksEncrypted(headOf(body))) {
    throw badConfig(
      `${key}: begins as an encrypted object: write it to a file by "decrypt", then encrypt that file; where it cannot be decrypted it may be a plain content that begins so: fetch it by the provider's own tools, then encrypt the file`,
    );
  }
  return { body, close: () => undefined };
}

/** Whether the first bytes tell if an object is encrypted. In the flat structure the name does. */
function areFirstBytesDecisive(key: string, naming: NamingSettings): boolean {
  const parsed = parseKey(key, naming);
  return parsed !== undefined && parsed.encrypted === undefined;
}

function openTarget(
  to: string,
  options: Options,
  { envelope, naming, target, signal }: Context,
): Output {
  if (target === undefined) return openOutput(to, options.force === true);
  const { bucket, key } = target;
  const sink = new MemorySink();
  return {
    sink,
    async commit() {
      await refuseExisting(target, options, signal);
      const content = bodyOf(sink.bytes);
      const { bytes, totalBytes } = headOf(content);
      if (areFirstBytesDecisive(key, naming) && isLookalike(bytes, totalBytes)) {
        const identity = knownIdentity(to, options, envelope.lookalikeFormat);
        await envelope.putPlain(bucket, key, content, identity, { signal });
      } else {
        await bucket.put(key, content, { signal });
      }
    },
    discard: () => undefined,
  };
}

async function refuseExisting(
  { bucket, key }: BucketObject,
  { force }: Options,
  signal: AbortSignal,
): Promise<void> {
  if (force === true || (await bucket.head(key, { signal })) === undefined) return;
  throw badConfig(`${key}: is in the bucket already; --force replaces it`);
}

function refuseJsonOnStandardOutput(to: string, options: Options): void {
  if (options.json === true && to === STANDARD_STREAM) {
    throw badConfig('--json and OUT "-" would mix on standard output');
  }
}

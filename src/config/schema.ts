// SPDX-License-Identifier: GPL-3.0-or-later
// Every setting: its name, type, range, default and documentation, in one place. The schemas are functions: building one costs
// a millisecond or two, and Orthanc waits while it starts.

import * as z from 'zod/mini';
import { describeSecret, showName } from '../text/secret.ts';
import { parseConnectionString } from './connection-string.ts';
import {
  blankToUndefined,
  butNot,
  choice,
  documented,
  exactTextSchema,
  flag,
  optionalAnyText,
  optionalChoice,
  optionalFlag,
  optionalSecret,
  optionalText,
  requiredText,
  ruleIssue,
  textSchema,
  wholeNumber,
  wholeNumberSchema,
  withoutSecret,
} from './fields.ts';
import { parseAccountUrl, parseEndpoint, parseS3Endpoint, type UrlResult } from './urls.ts';

export const S3_STORAGE_CLASSES = [
  'STANDARD',
  'REDUCED_REDUNDANCY',
  'STANDARD_IA',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
  'GLACIER',
  'DEEP_ARCHIVE',
  'OUTPOSTS',
  'GLACIER_IR',
  'SNOW',
  'EXPRESS_ONEZONE',
] as const;

/** Objects in these cannot be read until somebody restores them. */
export const S3_OFFLINE_CLASSES: readonly string[] = ['GLACIER', 'DEEP_ARCHIVE'];

const SECONDS_PER_DAY = 86_400;
const UINT32_MAX = 0xffff_ffff;

export function s3Schema() {
  return z.strictObject({
    BucketName: requiredText('The bucket, which must exist.', "the bucket's name", bucketRule),
    Region: requiredText(
      'The bucket\'s region, such as "eu-central-1". Servers other than AWS often take any; "us-east-1" is the usual one.',
      'the region, such as "eu-central-1"',
      (value) =>
        /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(value)
          ? undefined
          : 'must be a region such as "eu-central-1"',
    ),
    AccessKey: optionalAnyText(
      "The id of the access key. Without it and `SecretKey`, AWS's own chain finds credentials: environment variables, profiles, web identity, container and instance roles.",
      accessKeyRule,
    ),
    SecretKey: optionalSecret('The secret that belongs to `AccessKey`.'),
    Endpoint: optionalUrl(
      'The address of a server other than AWS: a host, host:port or URL. A bare host is reached by https; write "http://…" for a server without TLS. Absent or "": what `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` in the environment say, else AWS.',
      parseS3Endpoint,
    ),
    VirtualAddressing: flag(
      'true: the bucket is part of the host name (bucket.host). false: of the path (host/bucket), which MinIO and most servers of one\'s own need. Always the path where the host is "localhost" or an IP address, where `Endpoint` has a path, where the bucket\'s name cannot be part of a host name, and over https where it has dots (the certificate would not match).',
      true,
    ),
    StorageClass: optionalText(
      `Storage class of new objects: one of ${S3_STORAGE_CLASSES.map((name) => `"${name}"`).join(', ')}, or what your server calls its own. Absent: the bucket's default. ` +
        '"GLACIER" and "DEEP_ARCHIVE" must be restored before Orthanc can read them.',
    ),
    Tags: documented(z._default(tagsSchema(), {}), {
      description:
        'Tags of new objects, sent in the same request: an object of at most 10 texts; names up to 128, values up to 256 characters.',
      default: {},
    }),
    ServerSideEncryption: optionalChoice(
      "Encryption that the server does: S3's own key, or one of the key management service. Absent: the bucket's default.",
      ['AES256', 'aws:kms', 'aws:kms:dsse'],
    ),
    KmsKeyId: optionalText(
      'Id or ARN of the key for `ServerSideEncryption` "aws:kms" or "aws:kms:dsse". Absent: the account\'s default key.',
    ),
    ChecksumMode: choice(
      '"WhenRequired" is for servers that reject the CRC32 checksums of "WhenSupported": Content-MD5 is sent instead.',
      ['WhenSupported', 'WhenRequired'],
      'WhenSupported',
    ),
    UseTransferManager: flag(
      'true: everything larger than `TransferBufferSize` is sent in parts, several at once. false: only what is too large for one good request.',
      false,
    ),
    TransferPoolSize: wholeNumber('Parts of one object under way at once.', {
      min: 1,
      max: 100,
      unit: 'parts',
      default: 10,
    }),
    // 5 MB is S3's smallest part (all but the last); the C++ plugin reads the key in units of 1024 * 1024 bytes.
    TransferBufferSize: wholeNumber('Size of a part, in MB of 1,048,576 bytes.', {
      min: 5,
      max: 1024,
      unit: 'MB',
      default: 5,
    }),
    EnableAwsSdkLogs: flag(
      "Puts the AWS SDK's own log lines into Orthanc's log: failures as warnings, the rest as information, which Orthanc shows with `--verbose` only.",
      false,
    ),
    ...commonSettings(),
  });
}

export function azureSchema() {
  return z.strictObject({
    ConnectionString: optionalSecret(
      'As the Azure portal shows it, with an account key or a shared access signature.',
      connectionStringRule,
    ),
    AccountUrl: optionalUrl(
      'Instead of `ConnectionString`: the account\'s address, such as "https://account.blob.core.windows.net". Credentials then come from the default Azure chain: environment variables, workload identity, managed identity.',
      parseAccountUrl,
    ),
    ...azureSettings(),
    ...commonSettings(),
  });
}

/** The section's old form, which the C++ plugin still reads. */
export function oldAzureSchema() {
  return z.strictObject({
    AccountName: optionalText(
      'Old form of `ConnectionString`, together with `AccountKey`: the storage account.',
    ),
    AccountKey: optionalSecret('Old form of `ConnectionString`: the key of `AccountName`.'),
    ConnectionString: optionalSecret('As in `AzureBlobStorage`.', connectionStringRule),
    AccountUrl: optionalUrl('As in `AzureBlobStorage`.', parseAccountUrl),
    ...azureSettings(),
    ...commonSettings(),
  });
}

function azureSettings() {
  return {
    ContainerName: requiredText('The container.', "the container's name", containerRule),
    CreateContainerIfNotExists: flag('Creates the container at start if it is missing.', true),
    AccessTier: optionalChoice("Access tier of new objects. Absent: the account's default.", [
      'Hot',
      'Cool',
      'Cold',
      'Archive',
      'Premium',
    ]),
  };
}

export function googleSchema() {
  return z.strictObject({
    BucketName: requiredText('The bucket, which must exist.', "the bucket's name", bucketRule),
    ServiceAccountFile: optionalAnyText(
      "Path of a service account's JSON key. Absent: application default credentials, workload identity included.",
    ),
    Endpoint: optionalUrl(
      'The address of an emulator or a private endpoint: a host, host:port or URL; a bare host is reached by https. Absent or "": Google.',
      parseEndpoint,
    ),
    StorageClass: optionalChoice("Storage class of new objects. Absent: the bucket's default.", [
      'STANDARD',
      'NEARLINE',
      'COLDLINE',
      'ARCHIVE',
    ]),
    ...commonSettings(),
  });
}

/** What every provider's section may hold. */
export function commonSettings() {
  return {
    RootPath: documented(z._default(rootPathSchema(), ''), {
      description:
        'Folder in the bucket, without "/" at its start. Not to be changed once files are stored.',
      default: '',
    }),
    StorageStructure: choice(
      '"flat": uuid and extension. "legacy": Orthanc\'s own folders, no extension. Not to be changed once files are stored.',
      ['flat', 'legacy'],
      'flat',
    ),
    EnableLegacyUnknownFiles: flag(
      'true: headers that C++ plugins 1.2.0 to 1.3.0 stored as ".unk" instead of ".dcm.head" are found too.',
      false,
    ),
    MigrationFromFileSystemEnabled: flag('Old form of `HybridMode` "WriteToObjectStorage".', false),
    HybridMode: choice(
      "Reads from Orthanc's `StorageDirectory` and from the bucket, and writes to the one that it names.",
      ['Disabled', 'WriteToFileSystem', 'WriteToObjectStorage'],
      'Disabled',
    ),
    StartTimeout: wholeNumber(
      'How long a store that cannot be reached, or fails, is waited for when Orthanc starts, in seconds. What waiting does not mend (a wrong setting, key or bucket) is refused at once. 0: so is everything.',
      { min: 0, max: SECONDS_PER_DAY, unit: 'seconds', default: 30 },
    ),
    ConnectionTimeout: wholeNumber('Time to open a connection, in seconds.', {
      min: 1,
      max: 3600,
      unit: 'seconds',
      default: 30,
      aliases: ['ConnectTimeout'],
    }),
    RequestTimeout: wholeNumber(
      'Time that one read or write may take in all, retries included, in seconds. A removal has 8 at most, since Orthanc waits for it.',
      { min: 1, max: SECONDS_PER_DAY, unit: 'seconds', default: 1200 },
    ),
    MaxConnections: wholeNumber(
      'Connections to the provider at once; removals have up to 4 more.',
      {
        min: 1,
        max: 1000,
        unit: 'connections',
        default: 25,
      },
    ),
    MaxRetries: wholeNumber(
      'How often a failed request is sent again; a removal 6 times at most.',
      {
        min: 0,
        max: 100,
        unit: 'retries',
        default: 10,
      },
    ),
    Lanes: wholeNumber(
      'Event loops that serve requests, each on a thread of its own: more than 1 lets the plugin use more than one core, for 10 to 40 MB of memory each. They share `MaxConnections` and `MaxConcurrentInputSize`. Hybrid storage needs 1.',
      { min: 1, max: 64, unit: 'threads', default: 1 },
    ),
    StorageEncryption: documented(z.optional(encryptionSchema()), {
      description: `Encryption before anything leaves Orthanc: the section \`StorageEncryption\` below.`,
    }),
  };
}

export function encryptionSchema() {
  return z.strictObject(
    {
      Enable: optionalFlag(
        'Absent: true where the section holds anything else, as in the C++ plugins; false where it is empty. With false, the keys are read all the same, for what was encrypted before: where nothing was, leave them out.',
      ),
      MasterKey: documented(z.optional(masterKeySchema()), {
        description:
          'The key for new objects: [id, path of the key file]. The file holds 32 bytes in base64.',
      }),
      PreviousMasterKeys: documented(
        z._default(z.array(masterKeySchema(), { error: 'must be a list of [id, path]' }), []),
        {
          description: 'Earlier keys, for reading what they encrypted: [[id, path], …].',
          default: [],
        },
      ),
      MaxConcurrentInputSize: wholeNumber(
        'Bytes in memory of contents that are encrypted or decrypted at once, in MB of 1,048,576 bytes: 1 MB at most of each.',
        { min: 1, max: 1_048_576, unit: 'MB', default: 1024 },
      ),
      Format: choice(
        '"A1" is the format of the C++ plugins; "A2" allows reading parts of an object.',
        ['A1', 'A2'],
        'A1',
      ),
    },
    { error: (issue) => `must be an object${butNot(issue.input)}` },
  );
}

export function masterKeySchema() {
  return z.tuple([wholeNumberSchema(0, UINT32_MAX), textSchema()], {
    error: 'must be [id, "path of the key file"]',
  });
}

function optionalUrl(description: string, parse: (text: string) => UrlResult) {
  const text = z.pipe(z.transform(blankToUndefined), z.optional(textSchema(withoutSecret())));
  const url = z.transform((value: string | undefined, context) => {
    if (value === undefined) return undefined;
    const result = parse(value);
    if ('url' in result) return result.url;
    context.issues.push(ruleIssue(result.problem));
    return undefined;
  });
  return documented(z.optional(z.pipe(text, url)), { description });
}

function bucketRule(value: string): string | undefined {
  const hint = "write the bucket's name alone, a folder belongs in RootPath";
  if (/^[a-z0-9]+:\/\//i.test(value)) return `must not be a URL: ${hint}`;
  if (/\s/.test(value)) return 'must not hold white space';
  // ARNs of access points hold slashes.
  if (value.includes('/') && !value.startsWith('arn:')) return `must not hold "/": ${hint}`;
  return undefined;
}

// https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
function containerRule(value: string): string | undefined {
  return /^(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*$/.test(value)
    ? undefined
    : 'must be 3 to 63 lower-case letters, digits and single hyphens';
}

/** Such keys expire within hours, and there is no setting for the token that belongs to them.
 *  @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html */
function accessKeyRule(value: string): string | undefined {
  // Ids have less, and are of many forms: only what is plainly a secret is told.
  const kind = value.length < 40 ? undefined : describeSecret(value);
  if (kind !== undefined) {
    return `holds ${kind}; the id of the access key belongs there, and its secret in SecretKey`;
  }
  return /^ASIA[A-Z0-9]{16}$/.test(value)
    ? 'is a temporary key: leave it and "SecretKey" out, and put both with their token into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) or a profile'
    : undefined;
}

function connectionStringRule(value: string): string | undefined {
  const result = parseConnectionString(value);
  return 'problem' in result ? result.problem : undefined;
}

// Object keys may have 1,024 bytes with all three providers; the longest name behind RootPath has 51.
const ROOT_PATH_MAX_BYTES = 900;

function rootPathSchema() {
  const rule = (value: string) => {
    if (value.startsWith('/')) {
      const rest = value.replace(/^\/+/, '');
      return `must not start with "/": write ${showName(rest) === rest ? `"${rest}"` : 'it without'}`;
    }
    if (/[\p{Cc}\p{Cs}]/u.test(value)) return 'must not hold control characters';
    if (/(^|\/)\.{1,2}(\/|$)/.test(value)) return 'must not hold "." or ".." as a folder';
    if (Buffer.byteLength(value) > ROOT_PATH_MAX_BYTES) {
      return `must not be longer than ${ROOT_PATH_MAX_BYTES} bytes`;
    }
    return undefined;
  };
  // One slash only, so that "a//" still names what it does in the C++ plugins.
  return z.pipe(
    exactTextSchema(withoutSecret(rule)),
    z.transform((value: string) => value.replace(/\/$/, '')),
  );
}

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
const TAGS_MAX = 10;
const TAG_KEY_MAX_CHARACTERS = 128;
const TAG_VALUE_MAX_CHARACTERS = 256;
const TAG_CHARACTERS = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

function tagsSchema() {
  const value = z.pipe(
    z.transform((tag: unknown) =>
      typeof tag === 'boolean' || Number.isSafeInteger(tag) ? String(tag) : tag,
    ),
    z.string({ error: (issue) => `must be text in quotes${butNot(issue.input)}` }).check(
      z.refine((text: string) => tagProblem(text, TAG_VALUE_MAX_CHARACTERS) === undefined, {
        error: (issue) => tagProblem(String(issue.input), TAG_VALUE_MAX_CHARACTERS) ?? '',
      }),
    ),
  );
  return z
    .record(z.string(), value, {
      error: 'must be an object of texts, such as {"project": "radiology"}',
    })
    .check((payload) => {
      for (const problem of tagNameProblems(Object.keys(payload.value))) {
        payload.issues.push({ code: 'custom', input: undefined, message: problem });
      }
    });
}

function tagNameProblems(names: readonly string[]): readonly string[] {
  const problems: string[] = [];
  if (names.length > TAGS_MAX) {
    problems.push(`has ${names.length} tags; S3 allows ${TAGS_MAX}`);
  }
  for (const name of names) {
    const problem =
      name === ''
        ? 'must not be empty'
        : /^aws:/i.test(name)
          ? 'must not start with "aws:"'
          : tagProblem(name, TAG_KEY_MAX_CHARACTERS);
    if (problem !== undefined) problems.push(`the name of tag "${showName(name)}" ${problem}`);
  }
  return problems;
}

function tagProblem(text: string, maxCharacters: number): string | undefined {
  // In UTF-16 units, as S3 counts (same page).
  if (text.length > maxCharacters) return `must not be longer than ${maxCharacters} characters`;
  return TAG_CHARACTERS.test(text)
    ? undefined
    : 'may hold letters, digits, spaces and + - = . _ : / @ only';
}

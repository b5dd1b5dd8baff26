// SPDX-License-Identifier: GPL-3.0-or-later
// The section AwsS3Storage, with the environment variables that count beside it.

import * as z from 'zod/mini';
import { checkEndpoint } from '../../config/endpoints.ts';
import { firstOf } from '../../config/environment.ts';
import {
  BYTES_PER_MB,
  bucketRule,
  butNot,
  checkOf,
  choice,
  documented,
  flag,
  isGiven,
  optionalAnyText,
  optionalChoice,
  optionalSecret,
  optionalText,
  optionalUrl,
  type RawSection,
  requiredText,
  ruleIssue,
  wholeNumber,
  wrongChoice,
} from '../../config/fields.ts';
import {
  checkTogether,
  type ProviderSection,
  type SectionContext,
  type ValuesOf,
} from '../../config/sections.ts';
import type { NetworkSettings } from '../../config/settings.ts';
import { hasPath, isAddressOrLocalhost, parseS3Endpoint } from '../../config/urls.ts';
import { describeSecret, type Secret, showName } from '../../text/secret.ts';

export interface S3Settings extends NetworkSettings {
  readonly bucketName: string;
  readonly region: string;
  /** undefined: the SDK's chain (environment, profiles, web identity, container and instance roles). */
  readonly credentials: { readonly accessKey: string; readonly secretKey: Secret } | undefined;
  /** A URL with its scheme, without a slash at its end; undefined is AWS. */
  readonly endpoint: string | undefined;
  /** Where it is or would be set, for messages: "AwsS3Storage.Endpoint", or the name of an environment variable. */
  readonly endpointSetting: string;
  /** Host style (bucket.host) or path style (host/bucket). */
  readonly virtualAddressing: boolean;
  readonly storageClass: string | undefined;
  readonly tags: Readonly<Record<string, string>>;
  readonly serverSideEncryption: string | undefined;
  readonly kmsKeyId: string | undefined;
  readonly checksumMode: 'WhenSupported' | 'WhenRequired';
  readonly transfer: {
    /** Every content larger than one part goes in parts, not only those that are too large for one request. */
    readonly always: boolean;
    /** Parts under way at once, for one object. */
    readonly poolSize: number;
    readonly partSizeBytes: number;
  };
  readonly enableSdkLogs: boolean;
}

export const s3Section: ProviderSection<S3Settings, typeof fields> = {
  kind: 's3',
  section: 'AwsS3Storage',
  fields,
  checkWritten,
  read,
  obeyed: {
    always:
      /^AWS_(PROFILE|CONFIG_FILE|ENDPOINT_URL(_\w+)?|IGNORE_CONFIGURED_ENDPOINT_URLS|USE_(FIPS|DUALSTACK)_ENDPOINT|S3_(USE_ARN_REGION|DISABLE_EXPRESS_SESSION_AUTH)|DISABLE_CLOCK_SKEW_CORRECTION)$/,
    credentials:
      /^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|CREDENTIAL_(EXPIRATION|SCOPE)|ACCOUNT_ID|SHARED_CREDENTIALS_FILE|LOGIN_CACHE_DIRECTORY|WEB_IDENTITY_TOKEN_FILE|ROLE_(ARN|SESSION_NAME)|CONTAINER_\w+|EC2_METADATA_\w+)$/,
    literal:
      /^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|ROLE_ARN|WEB_IDENTITY_TOKEN_FILE|CONTAINER_AUTHORIZATION_TOKEN)$/,
    repeated: /^AWS_(PROFILE|ROLE_(ARN|SESSION_NAME))$/,
  },
  elsewhere: {
    AccessKey: 'accesskeyid keyid rootuser',
    SecretKey: 'secretaccesskey secret secretkeyid rootpassword applicationkey',
    Region: 'regionname defaultregion locationconstraint signingregion',
    VirtualAddressing:
      'forcepathstyle pathstyle usepathstyle usepathstyleendpoint addressingstyle pathstyleaccess virtualhoststyle virtualhostedstyle',
    ServerSideEncryption: 'sse encryption',
    KmsKeyId: 'ssekmskeyid kmskey kmskeyarn ssekmskey',
    Tags: 'tagging tagset',
    TransferBufferSize: 'chunksize partsize multipartchunksize blocksize',
    TransferPoolSize: 'uploadconcurrency maxconcurrency',
  },
  hints: { VirtualAddressing: ' Its false is path style' },
  notes: [
    `Another server, such as MinIO:

\`\`\`json
"AwsS3Storage": {
  "BucketName": "my-orthanc",
  "Region": "us-east-1",
  "Endpoint": "http://minio:9000",
  "VirtualAddressing": false,
  "AccessKey": "…",
  "SecretKey": "…"
}
\`\`\`
`,
  ],
};

const STORAGE_CLASSES = [
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
const OFFLINE_CLASSES: readonly string[] = ['GLACIER', 'DEEP_ARCHIVE'];

function fields() {
  return {
    BucketName: requiredText(
      'The bucket: its name, or the ARN of an access point (but not of a multi-region access point). It must exist.',
      "the bucket's name",
      bucketRule,
    ),
    Region: requiredText(
      'The bucket\'s region, such as "eu-central-1". Servers other than AWS often accept any region. "us-east-1" is the usual one.',
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
      'The address of a server other than AWS: a host, host:port or URL. A bare host means https; write "http://…" for a server without TLS. If it is absent or "", `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` in the environment applies, then `endpoint_url` of the profile, else AWS.',
      parseS3Endpoint,
    ),
    VirtualAddressing: flag(
      'true: the bucket is in the host name (bucket.host). false: it is in the path (host/bucket), as MinIO and most other servers need. It is always in the path if the host is "localhost" or an IP address, if `Endpoint` has a path, if the bucket\'s name cannot be in a host name, and, over https, if the name has dots (the certificate would not match).',
      true,
    ),
    StorageClass: optionalText(
      `Storage class of new objects: one of ${STORAGE_CLASSES.map((name) => `"${name}"`).join(', ')}, or a class of your own server. If it is absent, the bucket's default applies. ` +
        'Objects in "GLACIER" and "DEEP_ARCHIVE" must be restored before Orthanc can read them.',
    ),
    Tags: documented(z._default(tagsSchema(), {}), {
      description:
        'Tags of new objects, sent in the same request: an object with at most 10 texts. Names have up to 128 characters, values up to 256.',
      default: {},
    }),
    ServerSideEncryption: optionalChoice(
      "Encryption by the server, with S3's own key or with one of the key management service. If it is absent, the bucket's default applies.",
      ['AES256', 'aws:kms', 'aws:kms:dsse'],
    ),
    KmsKeyId: optionalText(
      'Id or ARN of the key for `ServerSideEncryption` "aws:kms" or "aws:kms:dsse". If it is absent, the account\'s default key is used.',
    ),
    ChecksumMode: choice(
      'Use "WhenRequired" for servers that reject the CRC32 checksums of "WhenSupported". The plugin then sends Content-MD5.',
      ['WhenSupported', 'WhenRequired'],
      'WhenSupported',
    ),
    UseTransferManager: flag(
      'true: everything larger than `TransferBufferSize` is sent in parts of that size, `TransferPoolSize` at once. false: only what is larger than 64 MB is sent in parts, of 16 MB and four at once.',
      false,
    ),
    TransferPoolSize: wholeNumber(
      'With `UseTransferManager`: how many parts of one object are sent at once.',
      { min: 1, max: 100, unit: 'parts', default: 10 },
    ),
    // 5 MB is S3's smallest part (all but the last); the C++ plugin reads the key in units of 1024 * 1024 bytes.
    TransferBufferSize: wholeNumber(
      'With `UseTransferManager`: size of a part, in MB of 1,048,576 bytes.',
      { min: 5, max: 1024, unit: 'MB', default: 5 },
    ),
    EnableAwsSdkLogs: flag(
      "Writes a line for each request to S3, and what the AWS SDK says about credentials, into Orthanc's log. Failures are warnings. The rest is information, which Orthanc shows only with `--verbose`.",
      false,
    ),
  };
}

type Values = ValuesOf<typeof fields>;

function checkWritten(raw: RawSection, context: SectionContext) {
  const { section, report } = context;
  checkTogether(raw, 'AccessKey', 'SecretKey', context);
  const encryption = raw['ServerSideEncryption'];
  const isKms = typeof encryption === 'string' && encryption.trim().startsWith('aws:kms');
  if (isGiven(raw['KmsKeyId']) && !isKms) {
    report.problems.push(
      `${section}.KmsKeyId: needs "ServerSideEncryption": "aws:kms" or "aws:kms:dsse"`,
    );
  }
}

function read(value: Values, context: SectionContext) {
  const address = readAddress(value, context);
  warnOfStorageClass(value.StorageClass, address.endpoint, context);
  const { AccessKey: accessKey, SecretKey: secretKey } = value;
  const credentials =
    accessKey !== undefined && secretKey !== undefined ? { accessKey, secretKey } : undefined;
  return {
    settings: {
      bucketName: value.BucketName,
      region: value.Region,
      credentials,
      ...address,
      storageClass: value.StorageClass,
      tags: value.Tags,
      serverSideEncryption: value.ServerSideEncryption,
      kmsKeyId: value.KmsKeyId,
      checksumMode: value.ChecksumMode,
      transfer: {
        always: value.UseTransferManager,
        poolSize: value.TransferPoolSize,
        partSizeBytes: value.TransferBufferSize * BYTES_PER_MB,
      },
      enableSdkLogs: value.EnableAwsSdkLogs,
    },
    bucket: value.BucketName,
    place: address.endpoint ?? value.Region,
    findsCredentials: credentials === undefined,
  };
}

/** Such keys expire within hours, and there is no setting for the token that belongs to them.
 *  @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html */
function accessKeyRule(value: string): string | undefined {
  // Ids are shorter and have many forms. Only what is plainly a secret is refused.
  const kind = value.length < 40 ? undefined : describeSecret(value);
  if (kind !== undefined) {
    return `holds ${kind}; the id of the access key belongs there, and its secret in SecretKey`;
  }
  return /^ASIA[A-Z0-9]{16}$/.test(value)
    ? 'is a temporary key: leave it and "SecretKey" out, and put both with their token into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) or a profile'
    : undefined;
}

function warnOfStorageClass(
  storageClass: string | undefined,
  endpoint: string | undefined,
  { section, report }: SectionContext,
) {
  if (storageClass === undefined) return;
  const name = `${section}.StorageClass`;
  if (OFFLINE_CLASSES.includes(storageClass)) {
    report.warnings.push(
      `${name}: objects in ${storageClass} cannot be read until they are restored; "GLACIER_IR" can`,
    );
    return;
  }
  if ((STORAGE_CLASSES as readonly string[]).includes(storageClass)) return;
  const problem = `${name}: ${wrongChoice(storageClass, STORAGE_CLASSES)}`;
  // Other servers have classes of their own.
  if (endpoint === undefined) report.problems.push(problem);
  else report.warnings.push(`${problem} Sent to the server as it is.`);
}

function readAddress(value: Values, context: SectionContext) {
  const { section, report } = context;
  const { endpoint, endpointSetting } = findEndpoint(value.Endpoint, context);
  const virtualAddressing = value.VirtualAddressing && canBePartOfHost(value.BucketName, endpoint);
  checkEndpoint(endpointSetting, endpoint, value.BucketName, report);
  // The host "minio" of a compose file has no domain, so "bucket.minio" does not exist.
  if (virtualAddressing && endpoint !== undefined && !new URL(endpoint).hostname.includes('.')) {
    report.warnings.push(
      `${section}.VirtualAddressing: the bucket's name becomes part of the host's, which has no domain; unless that is set up in DNS, write false`,
    );
  }
  return { endpoint, endpointSetting, virtualAddressing };
}

/** In the SDK's order. An address in a profile is found by the SDK alone. */
const ENDPOINT_VARIABLES = ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'];

function findEndpoint(
  endpoint: string | undefined,
  { section, variables, report }: SectionContext,
) {
  const isIgnored = /^true$/i.test(variables['AWS_IGNORE_CONFIGURED_ENDPOINT_URLS'] ?? '');
  const variable = isIgnored ? undefined : firstOf(ENDPOINT_VARIABLES, variables);
  if (endpoint !== undefined || variable === undefined) {
    return { endpoint, endpointSetting: `${section}.Endpoint` };
  }
  const { name, value } = variable;
  const result = parseS3Endpoint(value);
  if ('url' in result) return { endpoint: result.url, endpointSetting: name };
  report.problems.push(`${name}: ${result.problem}`);
  return { endpoint: undefined, endpointSetting: name };
}

/** @returns whether DNS and a certificate for *.host allow bucket.host, by the SDK's rule (isVirtualHostableS3Bucket) */
function canBePartOfHost(bucket: string, endpoint: string | undefined): boolean {
  if (endpoint !== undefined && (isAddressOrLocalhost(endpoint) || hasPath(endpoint))) return false;
  // The SDK takes the host of an access point from its ARN.
  if (bucket.startsWith('arn:')) return true;
  const isTls = endpoint === undefined || endpoint.startsWith('https://');
  const label = isTls ? /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/ : /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
  return label.test(bucket);
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
    z
      .string({ error: (issue) => `must be text in quotes${butNot(issue.input)}` })
      .check(checkOf((text) => tagProblem(text, TAG_VALUE_MAX_CHARACTERS))),
  );
  const error = 'must be an object of texts, such as {"project": "radiology"}';
  return z.record(z.string(), value, { error }).check((payload) => {
    const names = Object.keys(payload.value);
    if (names.length > TAGS_MAX) {
      payload.issues.push(ruleIssue(`has ${names.length} tags; S3 allows ${TAGS_MAX}`));
    }
    for (const name of names) {
      const problem = tagNameProblem(name);
      if (problem === undefined) continue;
      payload.issues.push(ruleIssue(`the name of tag "${showName(name)}" ${problem}`));
    }
  });
}

function tagNameProblem(name: string): string | undefined {
  if (name === '') return 'must not be empty';
  if (/^aws:/i.test(name)) return 'must not start with "aws:"';
  return tagProblem(name, TAG_KEY_MAX_CHARACTERS);
}

function tagProblem(text: string, maxCharacters: number): string | undefined {
  // In UTF-16 units, as S3 counts (same page).
  if (text.length > maxCharacters) return `must not be longer than ${maxCharacters} characters`;
  return TAG_CHARACTERS.test(text)
    ? undefined
    : 'may hold letters, digits, spaces and + - = . _ : / @ only';
}

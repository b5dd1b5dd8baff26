// SPDX-License-Identifier: GPL-3.0-or-later
// Makes docs/configuration.md and docs/configuration.schema.json from the schemas. Only scripts/generate-docs.mjs uses it.

import * as z from 'zod/mini';
import { commonFields } from './common.ts';
import { encryptionSchema } from './encryption.ts';
import { type SettingDoc, settingDocs } from './fields.ts';
import { localCacheSchema } from './local-cache.ts';
import { type ProviderSection, sectionNames, sectionSchema } from './sections.ts';

export type Shape = Readonly<Record<string, z.core.$ZodType>>;
export type JsonSchema = z.core.JSONSchema.BaseSchema;

/** For editors, which complete and check Orthanc's configuration file by it. */
export function renderJsonSchema(providers: readonly ProviderSection[]): string {
  const properties = providers.map((provider) => {
    const { $schema: _, ...json } = toJsonSchema(sectionSchema(provider));
    const isOld = provider.replacedBy !== undefined;
    return [provider.section, { ...json, ...(isOld ? { deprecated: true } : {}) }];
  });
  const document = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: "Orthanc's configuration with the object storage plugin",
    type: 'object',
    properties: Object.fromEntries(properties),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

export function renderMarkdown(providers: readonly ProviderSection[]): string {
  return [
    introduction(providers),
    ...providers.flatMap((provider) => describeSection(provider, providers)),
    '## In each of these sections\n',
    table(commonFields()),
    ROOT_PATH_NOTES,
    '## StorageEncryption\n',
    "A section inside the provider's ([encryption.md](encryption.md)):\n",
    table(encryptionSchema().shape),
    '## LocalCache\n',
    "A section inside the provider's ([local-cache.md](local-cache.md)):\n",
    table(localCacheSchema().shape),
    ORTHANC_SETTINGS,
  ].join('\n');
}

function describeSection(
  { section, replacedBy, fields, notes = [] }: ProviderSection,
  providers: readonly ProviderSection[],
): readonly string[] {
  const present = providers.find((other) => other.section === replacedBy);
  if (present === undefined) return [`## ${section}\n`, table(fields()), ...notes];
  return [
    `Its old name \`${section}\` also works, with these keys besides:\n`,
    table(onlyIn(fields(), present.fields())),
    ...notes,
  ];
}

function onlyIn(shape: Shape, other: Shape): Shape {
  return Object.fromEntries(Object.entries(shape).filter(([key]) => !Object.hasOwn(other, key)));
}

function table(shape: Shape): string {
  const rows = Object.entries(shape).map(([key, field]) => {
    const doc = docOf(key, field);
    const old = (doc.aliases ?? []).map((alias) => ` Old name: \`${alias}\`.`).join('');
    return [`\`${key}\``, typeText(toJsonSchema(field)), defaultText(doc), doc.description + old];
  });
  const lines = [['Key', 'Value', 'Default', 'Meaning'], ['---', '---', '---', '---'], ...rows];
  return `${lines.map((cells) => `| ${cells.map(escapeCell).join(' | ')} |`).join('\n')}\n`;
}

export function docOf(key: string, field: z.core.$ZodType): SettingDoc {
  const doc = settingDocs.get(field);
  if (doc === undefined) throw new Error(`${key} has no documentation`);
  return doc;
}

function defaultText(doc: SettingDoc): string {
  if (doc.required === true) return '*required*';
  return doc.default === undefined ? '' : `\`${JSON.stringify(doc.default)}\``;
}

function typeText(json: JsonSchema): string {
  if (json.enum !== undefined) {
    return json.enum.map((value) => `\`${JSON.stringify(value)}\``).join(', ');
  }
  switch (json.type) {
    case 'boolean':
      return '`true`, `false`';
    case 'integer':
      return `${json.minimum} to ${json.maximum}`;
    case 'array':
      return 'list';
    case 'object':
      return 'object';
    default:
      return 'text';
  }
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|');
}

export function toJsonSchema(schema: z.core.$ZodType): JsonSchema {
  return z.toJSONSchema(schema, {
    io: 'input',
    override: ({ zodSchema, jsonSchema }) => {
      const doc = settingDocs.get(zodSchema);
      if (doc !== undefined) {
        jsonSchema.description = doc.description;
        if (doc.default !== undefined) jsonSchema.default = doc.default;
      }
      if (zodSchema instanceof z.ZodMiniObject) addKeys(zodSchema.shape, jsonSchema);
    },
  });
}

/** Adds old names of keys, and the list of required keys. zod takes a key for optional if its schema begins with a transform. */
function addKeys(shape: Shape, json: JsonSchema) {
  const required: string[] = [];
  for (const [key, field] of Object.entries(shape)) {
    const doc = docOf(key, field);
    if (doc.required === true) required.push(key);
    for (const alias of doc.aliases ?? []) {
      const { $schema: _, ...property } = toJsonSchema(field);
      json.properties = { ...json.properties, [alias]: { ...property, deprecated: true } };
    }
  }
  if (required.length > 0) json.required = required;
  else delete json.required;
}

const introduction = (
  providers: readonly ProviderSection[],
) => `<!-- Generated from src/config and src/providers by scripts/generate-docs.mjs. Do not edit. -->
# Configuration

The plugin is set up in Orthanc's own configuration file, by one section named after the provider:
${sectionNames(providers, '`')}. With none of them, the plugin leaves Orthanc's own storage
alone. Two of them are an error.

\`\`\`json
{
  "Plugins": ["/usr/share/orthanc/plugins"],
  "AwsS3Storage": {
    "BucketName": "my-orthanc",
    "Region": "eu-central-1"
  }
}
\`\`\`

- **Mistakes stop Orthanc at start.** One message lists all of them, each with what to write instead:
  \`AwsS3Storage.BuketName: unknown key, did you mean "BucketName"?\`
- **One line of Orthanc's log** says where attachments go, and whether they are encrypted. It is a warning, because Orthanc shows
  information only with \`--verbose\`.
- Sections of the C++ plugins have the same meaning here, and the objects have the same names ([formats.md](formats.md)).
- Numbers and \`true\`/\`false\` may be in quotes, and a number may be written for a text. Environment variables of the Docker images
  arrive that way: \`ORTHANC__AWS_S3_STORAGE__BUCKET_NAME\` is \`AwsS3Storage.BucketName\`. A number with more than 15 digits,
  with a point or with an exponent (\`0.10\`, \`1e5\`) must be in quotes where a text is meant.
- Outside its section, a setting has no effect: \`ORTHANC__ROOT_PATH\` is not \`AwsS3Storage.RootPath\`. The plugin warns of those
  that it knows. \`StorageEncryption\` and \`MasterKey\` outside stop Orthanc, because files would be stored in the clear. Their
  variables begin with \`ORTHANC__AWS_S3_STORAGE__STORAGE_ENCRYPTION__\`.
- \`""\` means absent, for a text or a choice that may be absent.
- Secrets are never logged. If one is in the wrong setting, the message names only the setting. A key, a connection string or a
  service account's JSON in the place of a name or a path stops Orthanc.
- With [configuration.schema.json](configuration.schema.json), a JSON Schema, editors complete and check the settings.
`;

const ROOT_PATH_NOTES = `**RootPath** and the rest of the key are joined by one "/", so \`"a"\` and \`"a/"\` are the same. It must not start with "/", and no
folder in it may be "." or "..". An empty folder (\`"a//b"\`) stays, because the C++ plugins keep it.
`;

const ORTHANC_SETTINGS = `## Orthanc's own settings

| Key | What the plugin does with it |
| --- | --- |
| \`HttpsCACertificates\` | Path of a PEM file with the authorities that the provider's certificate is checked against. With \`""\`, those of the system apply (\`ca-certificates\`), because libnode of Debian and Ubuntu trusts them. A Node from elsewhere, which may run the command line, has its own list. |
| \`HttpProxy\` | \`host:port\`, \`user:password@host:port\` or an http(s) URL. All requests to the provider, and for its credentials, go through it. The default port is 1080, as in Orthanc itself. If the setting is absent, the environment decides. |
| \`HttpsVerifyPeers\` | Has no effect: the provider's certificate is always verified. The plugin warns of \`false\`. Name an authority of your own in \`HttpsCACertificates\`. |
| \`StorageDirectory\`, \`SyncStorageArea\` | With \`HybridMode\`: the folder of Orthanc's own files (an absolute path), and whether a write waits for the disk. |
| \`StorageLoaderThreadsCount\` | Without it, Orthanc 1.13 and later read at most 4 files at once. About 20 is good with object storage. The plugin warns if it is absent. |
| \`StoreMD5ForAttachments\` | \`false\` makes Orthanc 1.13.0 answer 500 to whole reads. The plugin warns. |

## Environment variables

- **Proxies**: without \`HttpProxy\`, requests go through \`HTTPS_PROXY\` (to \`https://\` addresses), \`HTTP_PROXY\` (to
  \`http://\`), or \`ALL_PROXY\`. The names in lower case come first. \`NO_PROXY\` lists what is reached directly, with
  \`HttpProxy\` too: hosts with their subdomains, addresses, ranges (\`10.0.0.0/8\`), each with \`:port\` if need be, or \`*\`. This
  machine and the metadata services of clouds are always reached directly.
- Node and the provider's SDK read other variables, such as \`AWS_PROFILE\`, \`AWS_ENDPOINT_URL\` or \`NODE_EXTRA_CA_CERTS\`. At
  start, one line names those that have an effect, without their values. Orthanc shows it with \`--verbose\`.
- Credentials in variables (\`AWS_SECRET_ACCESS_KEY\`, \`AZURE_CLIENT_SECRET\`) must not contain a line break, such as the one at
  the end of a secret's file. They must not begin or end with a blank. Variables that name a file must not hold the secret
  itself. Otherwise Orthanc does not start. In the configuration, blanks and line breaks around texts are removed.
- \`ORTHANC_OBJECT_STORAGE_BUNDLE\` loads another bundle in place of the built-in one, for development.
`;

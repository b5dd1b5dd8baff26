// SPDX-License-Identifier: GPL-3.0-or-later
// Makes docs/configuration.md and docs/configuration.schema.json of the schemas, for scripts/generate-docs.mjs. The plugin does not contain it.

import * as z from 'zod/mini';
import { commonFields } from './common.ts';
import { encryptionSchema } from './encryption.ts';
import { type SettingDoc, settingDocs } from './fields.ts';
import { type ProviderSection, sectionNames, sectionSchema } from './sections.ts';

type Shape = Readonly<Record<string, z.core.$ZodType>>;
type JsonSchema = z.core.JSONSchema.BaseSchema;

/** A JSON Schema of our sections in Orthanc's configuration file. Editors complete and check by it. */
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

/** The page that users read. */
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
    `Its old name \`${section}\` is read too, with these keys beside the ones above:\n`,
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

function docOf(key: string, field: z.core.$ZodType): SettingDoc {
  const doc = settingDocs.get(field);
  // A setting without its documentation is a defect that the generator must not hide.
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

function toJsonSchema(schema: z.core.$ZodType): JsonSchema {
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

/** Adds old names of keys, and which keys are required. zod takes those for optional whose schemas begin with a transform. */
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
${sectionNames(providers, '`')}. With none of them it leaves Orthanc's own storage alone; two are an error.

\`\`\`json
{
  "Plugins": ["/usr/share/orthanc/plugins"],
  "AwsS3Storage": {
    "BucketName": "my-orthanc",
    "Region": "eu-central-1"
  }
}
\`\`\`

- **Mistakes stop Orthanc at start**, all of them in one go, each with what to write instead:
  \`AwsS3Storage.BuketName: unknown key, did you mean "BucketName"?\`
- **One line of Orthanc's log** says where attachments go, and whether they are encrypted: a warning, since Orthanc shows no
  information without \`--verbose\`.
- Sections that the C++ plugins read are read here with the same meaning, and the objects have the same names
  ([formats.md](formats.md)).
- Numbers and \`true\`/\`false\` may stand in quotes, and a number may stand for a text: environment variables of the Docker
  images arrive that way. \`ORTHANC__AWS_S3_STORAGE__BUCKET_NAME\` is \`AwsS3Storage.BucketName\`. A number with more than 15
  digits, or one that a shortened form could replace (\`1e5\`, \`0.10\`), must stand in quotes.
- Beside its section a setting means nothing to Orthanc (\`ORTHANC__ROOT_PATH\` is not \`AwsS3Storage.RootPath\`). The plugin warns
  of those that it knows. \`StorageEncryption\` and \`MasterKey\` there stop Orthanc, since files would be stored in the clear: their
  variables begin with \`ORTHANC__AWS_S3_STORAGE__STORAGE_ENCRYPTION__\`.
- \`""\` for a text or a choice that may be absent counts as absent.
- Secrets are never logged, not even one that was written into the wrong setting: the message names the setting alone. A key, a
  connection string or a service account's JSON where a name or a path belongs stops Orthanc.
- [configuration.schema.json](configuration.schema.json) is a JSON Schema, for editors that complete and check by one.
`;

const ROOT_PATH_NOTES = `**RootPath** is joined to what follows by one "/": \`"a"\` and \`"a/"\` are the same. It must not start with "/", nor hold "." or
".." as a folder. An empty folder (\`"a//b"\`) is kept as it is, since the C++ plugins keep it.
`;

const ORTHANC_SETTINGS = `## Orthanc's own settings

| Key | What the plugin does with it |
| --- | --- |
| \`HttpsCACertificates\` | Path of a PEM file: the authorities that the provider's certificate is checked against. \`""\`: those that the system trusts (\`ca-certificates\`), with libnode of Debian and Ubuntu; a Node from elsewhere, which may run the command line, has a list of its own. |
| \`HttpProxy\` | \`host:port\`, \`user:password@host:port\` or an http(s) URL: all requests to the provider, and for its credentials, go through it. Without a port: 1080, as in Orthanc itself. Absent: what the environment says. |
| \`HttpsVerifyPeers\` | Has no say: the provider's certificate is always verified. The plugin warns of \`false\`; name an authority of your own in \`HttpsCACertificates\`. |
| \`StorageDirectory\`, \`SyncStorageArea\` | With \`HybridMode\`: the folder of Orthanc's own files, which must be an absolute path, and whether a write waits for the disk. |
| \`StorageLoaderThreadsCount\` | Orthanc 1.13 and later read at most 4 files at once without it; about 20 is good with object storage. The plugin warns. |
| \`StoreMD5ForAttachments\` | \`false\` makes Orthanc 1.13.0 answer 500 to whole reads. The plugin warns. |

## Environment variables

- **Proxies**: without \`HttpProxy\`, requests go through \`HTTPS_PROXY\` (to \`https://\` addresses), \`HTTP_PROXY\` (to
  \`http://\`), or \`ALL_PROXY\`, each also in lower case, which comes first. \`NO_PROXY\` lists what is reached straight, past
  \`HttpProxy\` too: hosts with their subdomains, addresses, ranges (\`10.0.0.0/8\`), each with \`:port\` if need be, or \`*\`. This
  machine and the metadata services of clouds are always reached straight.
- Node and the provider's SDK obey others, such as \`AWS_PROFILE\`, \`AWS_ENDPOINT_URL\` or \`NODE_EXTRA_CA_CERTS\`. The plugin
  names those that have a say, without their values, in one line at start, which Orthanc shows with \`--verbose\`.
- Credentials in them (\`AWS_SECRET_ACCESS_KEY\`, \`AZURE_CLIENT_SECRET\`) must hold no line break, as a file of a secret ends with one, and
  those that name a file no secret itself: Orthanc does not start then. Blanks and line breaks around texts of the configuration are taken off.
- \`ORTHANC_OBJECT_STORAGE_BUNDLE\` loads another bundle than the built-in one, for development.
`;

// SPDX-License-Identifier: GPL-3.0-or-later
// How the official image's entry point reads variables; test/image/stand-in/configure.py does the same where Orthanc is started.

/** Such as ORTHANC__AWS_S3_STORAGE__BUCKET_NAME.
 *  @returns such as ["AwsS3Storage", "BucketName"] */
export function settingOf(variable: string): readonly string[] {
  return variable
    .slice('ORTHANC__'.length)
    .split('__')
    .map((part) => SECTIONS[part] ?? part.split('_').map(capitalize).join(''));
}

const SECTIONS: Readonly<Record<string, string>> = { POSTGRESQL: 'PostgreSQL' };

const capitalize = (word: string) => word.slice(0, 1) + word.slice(1).toLowerCase();

/** @returns Orthanc's configuration; other variables are left out */
export function configurationOf(
  variables: Readonly<Record<string, string>>,
): Record<string, unknown> {
  const configuration: Record<string, unknown> = {};
  for (const [variable, text] of Object.entries(variables)) {
    if (!variable.startsWith('ORTHANC__')) continue;
    const path = settingOf(variable);
    let section = configuration;
    for (const name of path.slice(0, -1)) {
      section[name] ??= {};
      section = section[name] as Record<string, unknown>;
    }
    section[path.at(-1) ?? ''] = readValue(text);
  }
  return configuration;
}

/** JSON where it is JSON, else a text. */
function readValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

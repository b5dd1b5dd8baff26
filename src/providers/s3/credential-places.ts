// SPDX-License-Identifier: GPL-3.0-or-later
// The places where AWS's chain looks for credentials: the SDK's providers, in the order of its own chain (@aws-sdk/credential-provider-node
// 3.972). That chain forgets what each of them said. Its fallbacks are left out: they start a failed program of credential_process a
// second time, and say of a container that refuses that its address is not valid.

import { access, constants } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { loadSharedConfigFiles } from '@smithy/core/config';
import type { Variables } from '../../config/environment.ts';
import { asRecord, oneLine, text } from '../../http/words.ts';
import type { AwaitedServer } from '../../store/check-timeout.ts';
import type { SdkLogger } from './sdk-log.ts';

type Provider = Extract<
  NonNullable<S3ClientConfig['credentials']>,
  (...parameters: never) => unknown
>;
/** Who asks. */
export type Identity = Parameters<Provider>[0];
export type Credentials = Awaited<ReturnType<Provider>>;

export interface Place {
  /** Such as "the environment". */
  readonly name: string;
  /** Who is waited for while `find` takes its time. */
  readonly server: AwaitedServer;
  find(identity: Identity): Promise<Credentials>;
  /** In a few words, of what `find` threw: why there are none here. Nothing secret. */
  explain(thrown: unknown): string;
}

/** In the order in which they are asked. */
export async function createPlaces(
  variables: Variables,
  logger: SdkLogger,
): Promise<readonly Place[]> {
  const isContainer =
    isSet(variables['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI']) ||
    isSet(variables['AWS_CONTAINER_CREDENTIALS_FULL_URI']);
  return [
    environment(variables, logger),
    await profile(variables, logger),
    webIdentity(variables, logger),
    container(variables, logger),
    // A container that has a role must not get that of its host.
    ...(isContainer ? [] : [instance(variables, logger)]),
  ];
}

/** The place was not set up, so the next one is asked. */
class NotSetError extends Error {
  override readonly name = 'NotSetError';
  readonly tryNextLink = true;
}

export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError';

  constructor({ name }: AwaitedServer) {
    super(`no answer from ${name}`);
  }
}

const unknownServer: AwaitedServer = { name: 'what gives out credentials', settings: undefined };

function environment(variables: Variables, logger: SdkLogger): Place {
  const missing = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'].filter(
    (name) => !isSet(variables[name]),
  );
  const isPassedBy = isSet(variables['AWS_PROFILE']);
  return {
    name: 'the environment',
    server: unknownServer,
    async find() {
      if (isPassedBy || missing.length > 0) throw new NotSetError();
      const { fromEnv } = await import('@aws-sdk/credential-provider-env');
      return await fromEnv({ logger })();
    },
    explain: () =>
      isPassedBy
        ? 'not used, since AWS_PROFILE is set'
        : `${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} not set`,
  };
}

type Profiles = Readonly<Record<string, Readonly<Record<string, string | undefined>> | undefined>>;

async function profile(variables: Variables, logger: SdkLogger): Promise<Place> {
  const profileName = text(variables['AWS_PROFILE']) ?? 'default';
  const profiles = await readProfiles();
  const source = findSource(profileName, profiles);
  const files = await Promise.all(
    [
      ['AWS_SHARED_CREDENTIALS_FILE', 'credentials'] as const,
      ['AWS_CONFIG_FILE', 'config'] as const,
    ].map(([variable, file]) => describeFile(variable, file, variables)),
  );
  const isNamed = isSet(variables['AWS_PROFILE']);
  const name = `the profile "${profileName}"${isNamed ? ' that AWS_PROFILE names' : ''}`;
  return {
    name,
    server: serverOf(source),
    async find(identity) {
      if (profiles[profileName] === undefined) throw new NotSetError();
      const { fromIni } = await import('@aws-sdk/credential-provider-ini');
      return await fromIni({ logger, profile: profileName })(identity);
    },
    explain(thrown) {
      if (thrown instanceof NotSetError) return files.join(', ');
      if (source.kind === 'process') return explainProcess(source, thrown);
      return wordsOf(thrown);
    },
  };
}

/** Where the credentials of a profile come from, once references to other profiles are followed. */
type Source = {
  readonly kind: 'process' | 'sso' | 'login' | 'sts' | 'other';
  readonly profile: string;
  readonly command: string;
};

function findSource(name: string, profiles: Profiles): Source {
  const visited = new Set<string>();
  for (let profile = name; ; ) {
    const settings = profiles[profile] ?? {};
    const { credential_process: command = '', source_profile: next } = settings;
    const found = (kind: Source['kind']): Source => ({ kind, profile, command });
    visited.add(profile);
    if (settings['role_arn'] !== undefined && next !== undefined && !visited.has(next)) {
      profile = next;
      continue;
    }
    if (settings['aws_access_key_id'] !== undefined)
      return found(profile === name ? 'other' : 'sts');
    if (settings['role_arn'] !== undefined) return found('sts');
    if (command !== '') return found('process');
    if (Object.keys(settings).some((key) => key.startsWith('sso_'))) return found('sso');
    return found(settings['login_session'] === undefined ? 'other' : 'login');
  }
}

/** For messages. */
export const STS = 'the service that gives out temporary credentials (STS)';
export const STS_ADDRESS = 'the environment variable AWS_ENDPOINT_URL_STS';

function serverOf({ kind, profile, command }: Source): AwaitedServer {
  const settings = `the profile "${profile}"`;
  switch (kind) {
    case 'process':
      return {
        name: `the program${programOf(command)} that credential_process of the profile "${profile}" names`,
        settings,
      };
    case 'sso':
    case 'login':
      return { name: `IAM Identity Center (SSO), which the profile "${profile}" names`, settings };
    case 'sts':
    case 'other':
      return { name: STS, settings: STS_ADDRESS };
    default:
      return kind satisfies never;
  }
}

/** Without its arguments, which may hold secrets. */
function programOf(command: string): string {
  const [, quoted, plain = ''] = /^\s*(?:"([^"]*)"|(\S+))/.exec(command) ?? [];
  const program = basename(quoted ?? plain);
  return program === '' ? '' : ` "${program}"`;
}

const MAX_PROGRAM_WORDS = 200;

/** @param thrown Node's "Command failed: ", the whole command, and what the program wrote to stderr */
function explainProcess({ profile, command }: Source, thrown: unknown): string {
  const who = `the program${programOf(command)} that credential_process of the profile "${profile}" names`;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (thrown instanceof NoAnswerError) return message;
  const isFailure = message.startsWith('Command failed: ');
  if (!isFailure) return `${who} gave none: ${withoutArguments(message, command)}`;
  const words = withoutArguments(
    message.slice('Command failed: '.length).replace(command, ''),
    command,
  );
  return words === '' ? `${who} failed without a word` : `${who} failed: ${words}`;
}

/** A program may repeat what it was called with. */
function withoutArguments(words: string, command: string): string {
  let clean = words;
  for (const argument of command.split(/[\s"'=]+/).slice(1)) {
    if (argument.length >= 4) clean = clean.replaceAll(argument, '…');
  }
  return oneLine(clean, MAX_PROGRAM_WORDS);
}

async function readProfiles(): Promise<Profiles> {
  // An administrator may correct them while Orthanc runs.
  const { configFile, credentialsFile } = await loadSharedConfigFiles({ ignoreCache: true });
  const profiles: Record<string, Readonly<Record<string, string | undefined>>> = {};
  for (const file of [configFile, credentialsFile]) {
    for (const [name, settings] of Object.entries(file)) {
      profiles[name] = { ...profiles[name], ...settings };
    }
  }
  return profiles;
}

/** @returns such as "no such file /root/.aws/config" */
async function describeFile(variable: string, name: string, variables: Variables): Promise<string> {
  const home = text(variables['HOME']) ?? homedir();
  const path = text(variables[variable])?.replace(/^~\//, `${home}/`) ?? join(home, '.aws', name);
  const source = isSet(variables[variable]) ? `${path}, which ${variable} names` : path;
  try {
    await access(path, constants.R_OK);
    return `not in ${source}`;
  } catch (thrown) {
    const code = text(asRecord(thrown)['code']) ?? 'unknown';
    return code === 'ENOENT' ? `no such file ${source}` : `${source} cannot be read (${code})`;
  }
}

function webIdentity(variables: Variables, logger: SdkLogger): Place {
  const missing = ['AWS_WEB_IDENTITY_TOKEN_FILE', 'AWS_ROLE_ARN'].filter(
    (name) => !isSet(variables[name]),
  );
  return {
    name: 'web identity',
    server: { name: STS, settings: STS_ADDRESS },
    async find(identity) {
      if (missing.length > 0) throw new NotSetError();
      const { fromTokenFile } = await import('@aws-sdk/credential-provider-web-identity');
      return await fromTokenFile({ logger })(identity);
    },
    explain: (thrown) =>
      thrown instanceof NotSetError
        ? `${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} not set`
        : wordsOf(thrown),
  };
}

/** Of ECS, Fargate and EKS Pod Identity. */
function container(variables: Variables, logger: SdkLogger): Place {
  const relative = 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI';
  const full = 'AWS_CONTAINER_CREDENTIALS_FULL_URI';
  const variable = [relative, full].find((name) => isSet(variables[name]));
  return {
    name: 'a container',
    server:
      variable === undefined
        ? unknownServer
        : {
            name: `the container's service for credentials, which ${variable} names`,
            settings: variable,
          },
    async find() {
      if (variable === undefined) throw new NotSetError();
      const { fromHttp } = await import('@aws-sdk/credential-provider-http');
      return await fromHttp({ logger })();
    },
    explain(thrown) {
      if (thrown instanceof NotSetError) return `neither ${relative} nor ${full} is set`;
      const { Code: code, Message: words } = asRecord(thrown);
      const said = [text(code), text(words)].filter((part) => part !== undefined).join(': ');
      return `what ${variable ?? full} names: ${wordsOf(thrown)}${said === '' ? '' : `, ${oneLine(said)}`}`;
    },
  };
}

/** Of EC2. */
function instance(variables: Variables, logger: SdkLogger): Place {
  const setting = variables['AWS_EC2_METADATA_DISABLED'];
  const isOff = isSet(setting) && setting !== 'false';
  return {
    name: "an instance's metadata",
    server: { name: "the instance's metadata service", settings: undefined },
    async find() {
      if (isOff) throw new NotSetError();
      const { fromInstanceMetadata } = await import('@smithy/credential-provider-imds');
      return await fromInstanceMetadata({ logger })();
    },
    explain(thrown) {
      if (isOff) return 'switched off by AWS_EC2_METADATA_DISABLED';
      const { statusCode: status, code } = asRecord(thrown);
      if (status === 404) return 'there, but no role is attached to this instance';
      if (typeof status === 'number') return `it answers with status ${status}`;
      if (text(code) !== undefined) return `no answer, ${text(code)}`;
      return /TimeoutError/.test(wordsOf(thrown)) ? 'no answer' : wordsOf(thrown);
    },
  };
}

/** The words of a JSON parser are left out: they quote the answer, which may hold credentials. */
function wordsOf(thrown: unknown): string {
  if (thrown instanceof SyntaxError) return 'the answer is no JSON';
  return oneLine(thrown instanceof Error ? thrown.message : String(thrown));
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== '';
}

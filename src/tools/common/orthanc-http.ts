// SPDX-License-Identifier: GPL-3.0-or-later
// --orthanc: Orthanc's REST API from outside, with a user and a password. No message repeats any part of a password, or of an address
// that may hold one in the wrong place.

import { readFileSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { unescape as unescapePercent } from 'node:querystring';
import { CommanderError, Option } from 'commander';
import { isObject, type RawSection } from '../../config/fields.ts';
import { isLoopback } from '../../config/urls.ts';
import { badConfig, errorCode, StorageError } from '../../errors.ts';
import { AnswerError } from '../../http/answer-error.ts';
import { createRetry } from '../../http/retry.ts';
import {
  type Answer,
  createTransport,
  type Transport,
  TransportError,
} from '../../http/transport.ts';
import { createOrthancApi, type OrthancApi } from '../../orthanc/api.ts';
import type { OperationOptions } from '../../store/object-store.ts';
import { readOrthancConfiguration } from './orthanc-configuration.ts';
import { cliLog } from './settings.ts';

export interface OrthancOptions {
  readonly config: string;
  /** Without an address: the Orthanc of the configuration, on this machine. */
  readonly orthanc?: URL | true;
  readonly orthancPasswordFile?: string;
}

const PASSWORD_VARIABLE = 'ORTHANC_PASSWORD';
const HTTP_PORT_DEFAULT = 8042;
/** They take about a minute: Orthanc, or a proxy before it, may be restarted in the middle of a long run. */
const RESTART_RETRIES = 12;
const OF_A_RESTART: ReadonlySet<number> = new Set([502, 503, 504]);
/** An Orthanc that is busy or has a large index may need minutes for one page of its list. */
const NETWORK = {
  connectionTimeoutMs: 30_000,
  requestTimeoutMs: 1_200_000,
  maxConnections: 8,
  maxRetries: 0,
  proxies: { http: undefined, https: undefined, exceptions: '' },
} as const;

/** @param use why the command may need Orthanc; undefined if it always does */
export function orthancOption(use?: string): Option {
  const option = new Option(
    '--orthanc [url]',
    use === undefined
      ? "Orthanc's REST API"
      : `Orthanc's REST API; without a URL, that of the configuration on this machine. ${use}`,
  ).argParser(parseOrthancUrl);
  return use === undefined
    ? option.default(true, 'that of the configuration, on this machine')
    : option;
}

export function orthancPasswordFileOption(): Option {
  return new Option(
    '--orthanc-password-file <file>',
    'the first line of this file is the password of the user in --orthanc http://USER@host:8042',
  ).implies({ orthanc: true });
}

export const ORTHANC_HELP = `
If Orthanc asks for a password: for an Orthanc on this machine, the configuration has it (RegisteredUsers). The first user is
taken, or the one in --orthanc http://USER@127.0.0.1:8042. For another Orthanc, put the user into the URL, and the password
into the environment variable ${PASSWORD_VARIABLE}, or into a file for --orthanc-password-file. (It may be in the URL too, but
everybody on this machine then sees it in the list of processes.) A certificate of https:// may also come from an authority in
HttpsCACertificates of the configuration.`;

/** Refuses a malformed address before anything looks up its host. @throws CommanderError that does not repeat the address */
export function parseOrthancUrl(text: string): URL {
  const [host] = /^https?:\/\/[^/?#\\]+/i.exec(text) ?? [];
  const rest = host === undefined ? undefined : text.slice(host.length);
  if (rest !== undefined && /[?#\\@]/.test(rest)) {
    throw wrongUsage(
      `holds "?", "#", "\\", or an "@" behind a "/", so that it is no address of Orthanc's. If that is a password, leave it out: write --orthanc http://USER@host:8042, and the password into the environment variable ${PASSWORD_VARIABLE}, or into a file for --orthanc-password-file`,
    );
  }
  if (rest === undefined || !URL.canParse(text)) {
    throw wrongUsage('must be a URL such as http://127.0.0.1:8042, or http://USER@host:8042');
  }
  return new URL(text);
}

// Commander would add the whole value to an InvalidArgumentError.
function wrongUsage(problem: string): CommanderError {
  return new CommanderError(1, 'orthanc.url', `error: --orthanc ${problem}`);
}

/** Sends no request yet. @throws StorageError BAD_CONFIG */
export function connectToOrthanc(
  options: OrthancOptions,
  { signal }: Partial<OperationOptions> = {},
): OrthancApi {
  const configuration = readOrthancConfiguration(options.config);
  const url = options.orthanc instanceof URL ? options.orthanc : localUrl(configuration);
  const prefix = url.pathname.replace(/\/$/, '');
  const base = `${url.origin}${prefix}`;
  const login = findLogin(url, options, configuration);
  const headers: Record<string, string> =
    login === undefined
      ? {}
      : {
          authorization: `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`,
        };
  const exchange = createExchange(authoritiesOf(configuration));
  const retry = createRetry({ maxRetries: RESTART_RETRIES, retryConnecting: true });
  // Until then, the address may be wrong, and the user waits for the message.
  let hasAnswered = false;
  async function ask(path: string): Promise<Answer> {
    try {
      const answer = await exchange({
        origin: url.origin,
        method: 'GET',
        path: `${prefix}${path}`,
        headers,
        signal,
      });
      if (hasAnswered && OF_A_RESTART.has(answer.status)) throw new AnswerError(answer, {});
      hasAnswered = true;
      return answer;
    } catch (error) {
      // It was waited for long enough.
      const isOver = error instanceof TransportError && error.code.endsWith('TIMEOUT');
      throw isOver ? unanswered(error) : error;
    }
  }
  function unanswered(cause: TransportError): StorageError {
    return new StorageError(
      'UNAVAILABLE',
      `Orthanc does not answer at ${base}${describeConnectionFailure(cause.code)}`,
      { cause },
    );
  }
  return createOrthancApi(async (path) => {
    try {
      const answer = hasAnswered
        ? await retry(signal ?? new AbortController().signal, () => ask(path))
        : await ask(path);
      refuseUnexpectedAnswer(answer, base, url, login);
      return answer;
    } catch (cause) {
      if (cause instanceof AnswerError) return cause.answer;
      throw cause instanceof TransportError ? unanswered(cause) : cause;
    }
  });
}

/** Trusts the certificates of the system. If Orthanc's certificate is not among them, it trusts those in HttpsCACertificates instead. */
function createExchange(caCertificatesFile: string | undefined): Transport['exchange'] {
  let transport = createTransport({ ...NETWORK, caCertificatesFile: undefined });
  let hasOther = caCertificatesFile !== undefined;
  return async (request) => {
    try {
      return await transport.exchange(request);
    } catch (error) {
      if (!hasOther || !(error instanceof TransportError && isUntrusted(error.code))) {
        throw error;
      }
      transport = createTransport({ ...NETWORK, caCertificatesFile });
      hasOther = false;
      return await transport.exchange(request);
    }
  };
}

interface Login {
  readonly user: string;
  readonly password: string;
  /** Where user and password come from, for messages. */
  readonly source: string;
}

function findLogin(
  url: URL,
  { config, orthancPasswordFile }: OrthancOptions,
  configuration: RawSection,
): Login | undefined {
  // Unlike decodeURIComponent, it accepts a "%" that stands for itself.
  const user = unescapePercent(url.username);
  if (url.password !== '') {
    cliLog.warning(
      `--orthanc holds a password, which everybody on this machine sees in the list of processes: leave it out of the URL, and write it into the environment variable ${PASSWORD_VARIABLE}, or into a file for --orthanc-password-file`,
    );
    const percent = url.password.includes('%') ? ', in which "%25" stands for "%"' : '';
    return { user, password: unescapePercent(url.password), source: `those in the URL${percent}` };
  }
  if (orthancPasswordFile !== undefined) {
    if (user === '') {
      throw badConfig(
        '--orthanc-password-file: the user is missing; write it into the address, --orthanc http://USER@host:8042',
      );
    }
    const password = readPassword(orthancPasswordFile);
    return { user, password, source: 'that user with the password of --orthanc-password-file' };
  }
  const variable = process.env[PASSWORD_VARIABLE] ?? '';
  if (user !== '' && variable !== '') {
    return {
      user,
      password: variable,
      source: `that user with the password in ${PASSWORD_VARIABLE}`,
    };
  }
  const registered = isOfConfiguration(url, configuration) ? usersIn(configuration) : [];
  const found = registered.find(([name]) => user === '' || name === user);
  if (found !== undefined) {
    const [name, password] = found;
    const source = `"${name}" of RegisteredUsers in ${config}, if that is what it was started with`;
    return { user: name, password, source };
  }
  return user === ''
    ? undefined
    : { user, password: '', source: 'that user without a password, of which there was none' };
}

/** @throws StorageError BAD_CONFIG that does not name the file: the name may be the password itself */
function readPassword(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const code = errorCode(cause) ?? 'unknown';
    throw badConfig(`--orthanc-password-file: cannot be read (${code})`);
  }
  const [first = ''] = text.split(/\r?\n/, 1);
  if (first !== '') return first;
  throw badConfig('--orthanc-password-file: its first line is empty');
}

function localUrl(configuration: RawSection): URL {
  if (configuration['HttpServerEnabled'] === false) {
    throw badConfig(
      'HttpServerEnabled: is false, so that this Orthanc has no REST API to be asked',
    );
  }
  const port = Number(configuration['HttpPort'] ?? HTTP_PORT_DEFAULT);
  if (!(Number.isInteger(port) && port > 0 && port < 65_536)) {
    throw badConfig('HttpPort: must be the number of a port');
  }
  return new URL(`${configuration['SslEnabled'] === true ? 'https' : 'http'}://127.0.0.1:${port}`);
}

/** Whether the configuration belongs to that Orthanc. It does if the address is this machine's, and the port is not another one, such as
 *  the end of a tunnel. */
function isOfConfiguration(url: URL, configuration: RawSection): boolean {
  const name = url.hostname.replace(/^\[|\]$/g, '');
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const isHere =
    isLoopback(url.href) ||
    name === hostname().toLowerCase() ||
    own.some(({ address }) => address === name);
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  return isHere && Number(configuration['HttpPort'] ?? port) === port;
}

function usersIn(configuration: RawSection): readonly (readonly [string, string])[] {
  const users = configuration['RegisteredUsers'];
  if (configuration['AuthenticationEnabled'] === false || !isObject(users)) return [];
  return Object.entries(users).map(([name, password]) => [name, String(password)]);
}

function authoritiesOf(configuration: RawSection): string | undefined {
  const file = configuration['HttpsCACertificates'];
  return typeof file === 'string' && file !== '' ? file : undefined;
}

function refuseUnexpectedAnswer(
  { status, headers }: Answer,
  base: string,
  url: URL,
  login: Login | undefined,
): void {
  if (status === 401) {
    const who =
      login === undefined
        ? 'a user and a password'
        : `another user or password than ${login.source}`;
    throw new StorageError(
      'ACCESS_DENIED',
      `Orthanc at ${base} asks for ${who}; write the user into the address, --orthanc ${url.protocol}//USER@${url.host}, and the password into the environment variable ${PASSWORD_VARIABLE}, or into a file for --orthanc-password-file${
        login === undefined
          ? ' (RegisteredUsers of the configuration are taken for an Orthanc on this machine and at HttpPort; where there are none, see whether RemoteAccessAllowed is on)'
          : ''
      }`,
    );
  }
  if (status === 403) {
    const why =
      login === undefined
        ? `without a user: write --orthanc ${url.protocol}//USER@${url.host}`
        : 'to this user, whose password is right; take one who may read all of the index';
    throw new StorageError('ACCESS_DENIED', `Orthanc at ${base} answers 403, not allowed, ${why}`);
  }
  if (status >= 300 && status < 400) {
    const to = headers['location'] ?? '';
    const where = URL.canParse(to, base) ? new URL(to, base).origin : 'elsewhere';
    throw new StorageError(
      'UNAVAILABLE',
      `what answers at ${base} sends on to ${where} (${status}); give Orthanc's own address by --orthanc`,
    );
  }
}

function isUntrusted(code: string): boolean {
  return /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_UNTRUSTED)/.test(code);
}

function describeConnectionFailure(code: string): string {
  if (isUntrusted(code)) {
    return `: its certificate is not trusted (${code}); name its authority's PEM file in HttpsCACertificates of the configuration, or in the environment variable NODE_EXTRA_CA_CERTS`;
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return `: its certificate is that of another name (${code}); give the name in the certificate, --orthanc https://NAME:8042`;
  }
  if (code.startsWith('CERT_')) return `: its certificate is not valid (${code})`;
  if (/^(EPROTO|ERR_SSL_)/.test(code)) {
    return `: it does not speak TLS as this asks for it (${code}); if SslEnabled is off there, write "http://"`;
  }
  return ` (${code})`;
}

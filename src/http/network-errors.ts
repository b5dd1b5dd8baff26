// SPDX-License-Identifier: GPL-3.0-or-later
// What a failed request tells the user: which setting to look at. Answers that a provider's own codes explain are its own business.

import type { StorageErrorCode } from '../errors.ts';
import type { AnswerError } from './answer-error.ts';
import type { TransportError } from './transport.ts';
import { oneLine, text } from './words.ts';

export interface Explanation {
  readonly code: StorageErrorCode;
  readonly text: string;
}

export function denied(text: string): Explanation {
  return { code: 'ACCESS_DENIED', text };
}

export function badConfig(text: string): Explanation {
  return { code: 'BAD_CONFIG', text };
}

/** Whom the request was for. */
export interface Destination {
  /** The section of the configuration, such as "AwsS3Storage". */
  readonly section: string;
  /** For messages, such as its URL. */
  readonly target: string;
  /** The setting that holds the target's address, such as "AwsS3Storage.Endpoint". */
  readonly addressSetting: string;
  /** That address, where the user wrote one. */
  readonly endpoint: string | undefined;
  /** What to correct when the host name is not known, such as "AwsS3Storage.Endpoint". */
  readonly hostSettings: string;
  /** What to do about a gateway's limit for the size of requests, where contents are sent. */
  readonly bodyLimit?: string;
  /** At start a user may still have written the wrong scheme. */
  readonly isCheck: boolean;
}

export function explainTransport(error: TransportError, destination: Destination): Explanation {
  const { code, proxySetting: proxy } = error;
  const { section, target, addressSetting, endpoint } = destination;
  const through = proxy === undefined ? '' : ` through ${proxy}`;
  // With a proxy, only the proxy's name is looked up, and only the proxy is connected to.
  if (code === 'ECONNREFUSED') {
    return {
      code: 'UNAVAILABLE',
      text:
        proxy === undefined
          ? `nobody listens at ${target}; correct ${addressSetting}, or start the server`
          : `nobody listens at the proxy on the way to ${target}; correct ${proxy}, or start the proxy`,
    };
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return {
      code: 'UNAVAILABLE',
      text:
        proxy === undefined
          ? `the host name of ${target} cannot be resolved; correct ${destination.hostSettings} (${error.message})`
          : `the host name of the proxy on the way to ${target} cannot be resolved; correct ${proxy} (${error.message})`,
    };
  }
  if (code === 'CONNECT_TIMEOUT' || code === 'ETIMEDOUT') {
    return {
      code: 'TIMEOUT',
      text: `no connection to ${target}${through} within ${section}.ConnectionTimeout; is a firewall between?`,
    };
  }
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH') {
    return {
      code: 'UNAVAILABLE',
      text:
        proxy === undefined
          ? `${target} cannot be reached from this machine's network`
          : `the proxy on the way to ${target} cannot be reached from this machine's network; correct ${proxy}`,
    };
  }
  if (code === 'ANSWER_TIMEOUT') {
    return { code: 'TIMEOUT', text: `${target} stopped answering` };
  }
  if (CERTIFICATE.test(code)) {
    return badConfig(explainCertificate(error, destination));
  }
  if (/^(EPROTO|ERR_SSL_)/.test(code) && !error.transient) {
    return badConfig(explainTls(error, destination));
  }
  if (code === 'PROXY_CERTIFICATE') {
    return badConfig(
      `the certificate of the proxy is for another host name, or not trusted; correct ${proxy}, or name the PEM file of its authority in Orthanc's HttpsCACertificates (${oneLine(error.message)})`,
    );
  }
  if (code === 'PROXY_TLS') {
    const words = describeTls(error);
    return badConfig(
      NO_TLS.test(words)
        ? `the proxy does not speak TLS; write "http://" in ${proxy} (${words})`
        : `TLS with the proxy fails: ${words}; correct ${proxy}, or bring the proxy's TLS up to date`,
    );
  }
  if (code === 'PROXY_AUTHENTICATION') {
    return badConfig(
      `${proxy} asks for a user and a password, or for others; write them into its URL`,
    );
  }
  if (code === 'FOREIGN_ANSWER') {
    const foreign = `no store answers at ${target}, but something else does (${error.message})`;
    return {
      code: 'UNAVAILABLE',
      text: error.message.startsWith('status 413,')
        ? `${foreign}: ${tooLarge(destination.bodyLimit)}`
        : `${foreign}; correct ${addressSetting}${
            proxy === undefined ? '' : ` or ${proxy}`
          }, or let the proxy, gateway or web filter between pass these requests on${describeUnderscore(endpoint)}`,
    };
  }
  if (code === 'MISMATCHED_ANSWER') {
    return {
      code: 'UNAVAILABLE',
      text: `what answers at ${target}${through} gave the answer to another request (${error.message}); a proxy, gateway or load balancer between answers twice, or mixes answers up: replace it, or go past it by ${addressSetting}`,
    };
  }
  if (code === 'PROXY_REFUSED') {
    return { code: 'UNAVAILABLE', text: `${proxy} refused the connection (${error.message})` };
  }
  if (!error.transient) return { code: 'INTERNAL', text: `${code}: ${error.message}` };
  const expectsTls =
    destination.isCheck && endpoint?.startsWith('http:') === true
      ? `; if it expects TLS, write "https://" in ${addressSetting}`
      : '';
  if (code === 'CONNECTION_CLOSED' || code === 'ECONNRESET' || code === 'EPIPE') {
    return {
      code: 'UNAVAILABLE',
      text: `${target} closed the connection (${error.message})${expectsTls}`,
    };
  }
  if (/^(EPROTO|ERR_SSL_)/.test(code)) {
    return {
      code: 'UNAVAILABLE',
      text: `bytes were damaged on the way to ${target} or back (${describeTls(error)})`,
    };
  }
  if (code === 'NOT_HTTP') {
    return {
      code: 'UNAVAILABLE',
      text: `what answers at ${target} does not speak HTTP/1.1 (${error.message}); correct ${addressSetting}${expectsTls}`,
    };
  }
  if (code === 'BODY_BROKEN') {
    return { code: 'SHORT_BODY', text: `${target} broke off its answer (${error.message})` };
  }
  return { code: 'UNAVAILABLE', text: `${code}: ${error.message}` };
}

export const CERTIFICATE = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|ERR_TLS_)/;

/** Codes of OpenSSL's verification, and Node's own for a name that does not match. */
function explainCertificate({ code, message }: TransportError, destination: Destination): string {
  const certificate = `the certificate of ${destination.target}`;
  switch (code) {
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return `${certificate} is signed by an authority that is not trusted, and the server sends none that leads to a trusted one (${code}); install the whole chain on the server, its intermediate certificates included, or name the authority's PEM file in Orthanc's HttpsCACertificates (where that is set, what is in it counts alone)`;
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return `${certificate} is signed by itself alone and not trusted (${code}); name its PEM file in Orthanc's HttpsCACertificates`;
    case 'CERT_HAS_EXPIRED':
      return `${certificate}, or of its authority, has expired; renew it on the server, or set this machine's clock if that is ahead`;
    case 'CERT_NOT_YET_VALID':
      return `${certificate} is not valid yet; set this machine's clock (NTP), or the server's before it makes another one`;
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `${certificate} is for another host name (${oneLine(message)}); correct ${destination.hostSettings}, or have a certificate made for this name`;
    default:
      return /^(UNABLE_TO_|SELF_SIGNED_|CERT_UNTRUSTED)/.test(code)
        ? `${certificate} is signed by an authority that is not trusted (${code}); name its PEM file in Orthanc's HttpsCACertificates`
        : `${certificate} is not valid: ${oneLine(message)}`;
  }
}

/** OpenSSL's words for a server that does not speak TLS. */
const NO_TLS = /wrong version number|packet length too long|http request|unknown protocol/;
/** Alerts of a server that wants a certificate of its client, or another one.
 *  @see RFC 8446, section 6.2 */
const ALERTS_ABOUT_OURS: ReadonlySet<number> = new Set([41, 42, 43, 44, 45, 46, 48, 116]);

function explainTls(error: TransportError, { target, ...destination }: Destination): string {
  const alert = Number(/SSL alert number (\d+)/.exec(error.message)?.[1] ?? Number.NaN);
  const words = describeTls(error);
  if (!Number.isNaN(alert)) {
    return `${target} refuses TLS (alert ${alert}, ${words}): ${explainAlert(alert, destination.hostSettings)}`;
  }
  if (NO_TLS.test(words)) {
    return `${target} does not speak TLS; if it is plain HTTP, write "http://" in ${destination.addressSetting} (${words})`;
  }
  return `TLS with ${target} fails on this machine's side: ${words}; if what the server offers is old, bring its TLS up to date`;
}

function explainAlert(alert: number, hostSettings: string): string {
  if (ALERTS_ABOUT_OURS.has(alert)) {
    return 'it demands a certificate of its clients, and this plugin has none; let the server, or the gateway before it, take this machine without one';
  }
  switch (alert) {
    case 112:
      return `it has no certificate for this host name; correct ${hostSettings}`;
    case 70:
    case 71:
      return "it accepts no version or cipher of TLS that this machine's OpenSSL offers; bring the server's TLS up to date, to 1.2 or 1.3";
    case 40:
    case 80:
      return `it may not know this host name, have no version or cipher of TLS in common with this machine, or demand a certificate of its clients, which this plugin has not; the server's log knows. Else correct ${hostSettings}`;
    default:
      return "the server's log, or the gateway's before it, knows why";
  }
}

/** OpenSSL's reason, without its files and lines. */
function describeTls({ code, message }: TransportError): string {
  // Such as "0A00010B:SSL routines:ssl3_get_record:wrong version number:../ssl/record.c:354:".
  const parts = message.split(':');
  const at = parts.indexOf('SSL routines');
  const reason = (at < 0 ? undefined : text(parts[at + 2])) ?? code;
  return oneLine(reason.replace(/^(?:sslv3|tlsv1\d?|ssl\/tls) (?:alert )?/, ''));
}

/** For an answer that the provider itself does not explain better.
 *  @param service that was expected, such as "an S3 server" */
export function explainStatus(
  { status, location, said }: AnswerError,
  destination: Destination,
  service: string,
): Explanation {
  const { addressSetting, endpoint } = destination;
  if (status < 300) {
    return {
      code: 'UNAVAILABLE',
      text: `the answer makes no sense; does ${addressSetting} name ${service}? (${said})`,
    };
  }
  if (status < 400) return explainRedirect(location, { addressSetting, endpoint }, said);
  switch (status) {
    case 408:
      return { code: 'TIMEOUT', text: `the server gave up waiting (${said})` };
    case 413:
      return badConfig(`${tooLarge(destination.bodyLimit)} (${said})`);
    case 416:
      return { code: 'BAD_RANGE', text: 'the range lies outside the object' };
    case 429:
      return explainThrottling(destination.section, said);
    default:
      break;
  }
  if (status >= 500) return { code: 'UNAVAILABLE', text: `the server failed (${said})` };
  const hint = status === 400 ? describeUnderscore(endpoint) : '';
  return { code: 'INTERNAL', text: `the server refused the request (${said})${hint}` };
}

export function explainThrottling(section: string, said: string): Explanation {
  return {
    code: 'THROTTLED',
    text: `the server asks for fewer requests; lower ${section}.MaxConnections if this persists (${said})`,
  };
}

function tooLarge(bodyLimit = ''): string {
  return `the server, or a gateway before it, takes no request of this size; raise its limit (nginx: client_max_body_size)${bodyLimit}`;
}

/** @param location the header of a redirect
 *  @returns a URL, or a path on the same host, without possible secrets (user, password, query) */
export function readLocation(location: string | undefined): string | undefined {
  const here = 'https://here.invalid';
  if (location === undefined || !URL.canParse(location, here)) return undefined;
  const { protocol, origin, pathname } = new URL(location, here);
  if (protocol !== 'http:' && protocol !== 'https:') return undefined;
  return `${origin === here ? '' : origin}${pathname}`.slice(0, MAX_LOCATION);
}

const MAX_LOCATION = 200;

/** A redirect. It is not followed: credentials and contents go only where the settings say.
 *  @param location from readLocation
 *  @param bucket if it is a part of the host's name */
export function explainRedirect(
  location: string | undefined,
  {
    addressSetting,
    endpoint,
    bucket,
  }: Pick<Destination, 'addressSetting' | 'endpoint'> & { readonly bucket?: string },
  answer: string,
): Explanation {
  if (location === undefined) {
    return badConfig(
      `the server sends us elsewhere; does ${addressSetting} name the store, with the right scheme? (${answer})`,
    );
  }
  const to = location.startsWith('/') ? undefined : new URL(location);
  const isElsewhere = to !== undefined && to.origin !== (endpoint && new URL(endpoint).origin);
  const host = to?.host.startsWith(`${bucket}.`) ? to.host.slice(`${bucket}.`.length) : to?.host;
  const advice = isElsewhere
    ? `if the store is there, write "${to.protocol}//${host}" into ${addressSetting}`
    : `correct ${addressSetting}`;
  return badConfig(
    `the server sends us elsewhere, to "${location}"${isElsewhere ? '' : ' of the same host'}; ${advice}; if that is a page to sign in at, let the gateway pass these requests on (${answer})`,
  );
}

/** For refusals that do not say why. @param address a URL */
export function describeUnderscore(address: string | undefined): string {
  const hasUnderscore =
    address !== undefined && URL.canParse(address) && new URL(address).hostname.includes('_');
  return hasUnderscore
    ? '; many servers refuse a host name with "_" in it: give this one a name without'
    : '';
}

// SPDX-License-Identifier: GPL-3.0-or-later
// What a request that got no answer tells the user: which setting to look at.

import type { StorageErrorCode } from '../errors.ts';
import type { TransportError } from './transport.ts';

export interface Explanation {
  readonly code: StorageErrorCode;
  readonly text: string;
}

/** Whom the request was for. */
export interface Destination {
  /** The section of the configuration, such as "AwsS3Storage". */
  readonly section: string;
  /** In words: a URL, or what stands for it. */
  readonly target: string;
  /** The setting that holds the target's address, such as "AwsS3Storage.Endpoint". */
  readonly addressSetting: string;
  /** That address, where the user wrote one. */
  readonly endpoint: string | undefined;
  /** What to correct when the host name is not known, such as "AwsS3Storage.Endpoint". */
  readonly hostSettings: string;
  /** At start a user may still have written the wrong scheme. */
  readonly isCheck: boolean;
}

export function explainTransport(error: TransportError, destination: Destination): Explanation {
  const { code, proxySetting: proxy } = error;
  const { section, target, addressSetting, endpoint } = destination;
  const through = proxy === undefined ? '' : ` through ${proxy}`;
  // Who goes through a proxy looks up and connects to the proxy only.
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
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') {
    return {
      code: 'TIMEOUT',
      text: `no connection to ${target}${through} within ${section}.ConnectionTimeout; is a firewall between?`,
    };
  }
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH') {
    return { code: 'UNAVAILABLE', text: `${target} cannot be reached from this machine's network` };
  }
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT') {
    return { code: 'TIMEOUT', text: `${target} stopped answering` };
  }
  if (/^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_UNTRUSTED)/.test(code)) {
    return {
      code: 'BAD_CONFIG',
      text: `the certificate of ${target} is signed by an authority that is not trusted (${code}); name its PEM file in Orthanc's HttpsCACertificates`,
    };
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return {
      code: 'BAD_CONFIG',
      text: `the certificate of ${target} is for another host name (${error.message}); correct ${destination.hostSettings}, or have a certificate made for this name`,
    };
  }
  if (/^(CERT_|ERR_TLS_)/.test(code)) {
    return {
      code: 'BAD_CONFIG',
      text: `the certificate of ${target} is not valid: ${error.message}`,
    };
  }
  if (/^(EPROTO|ERR_SSL_)/.test(code)) {
    return {
      code: 'BAD_CONFIG',
      text: `${target} does not speak TLS; if it is plain HTTP, write "http://" in ${addressSetting} (${code})`,
    };
  }
  if (code === 'PROXY_AUTHENTICATION') {
    return {
      code: 'BAD_CONFIG',
      text: `${proxy} asks for a user and a password, or for others; write them into its URL`,
    };
  }
  if (code === 'STRANGER') {
    return {
      code: 'UNAVAILABLE',
      text: `no store answers at ${target}, but something else does (${error.message}); correct ${addressSetting}${
        proxy === undefined ? '' : ` or ${proxy}`
      }, or let the proxy, gateway or web filter between pass these requests on`,
    };
  }
  if (code === 'UND_ERR_ABORTED' && proxy !== undefined) {
    return { code: 'UNAVAILABLE', text: `${proxy} refused the connection (${error.message})` };
  }
  if (!error.transient) return { code: 'INTERNAL', text: `${code}: ${error.message}` };
  if (code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE') {
    return {
      code: 'UNAVAILABLE',
      text: `${target} closed the connection (${error.message})${
        destination.isCheck && endpoint?.startsWith('http:') === true
          ? `; if it expects TLS, write "https://" in ${addressSetting}`
          : ''
      }`,
    };
  }
  if (code === 'BODY_BROKEN') {
    return { code: 'SHORT_BODY', text: `${target} broke off its answer (${error.message})` };
  }
  return { code: 'UNAVAILABLE', text: `${code}: ${error.message}` };
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Certificates for 127.0.0.1, made when a test runs: no key lies in the repository, no openssl has to be installed.

import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateOptions {
  /** Who signs it; itself by default. */
  readonly issuer?: Certificate & { readonly name: string };
  readonly name?: string;
  /** From when until when, in days from now: yesterday and tomorrow by default. */
  readonly days?: readonly [number, number];
}

/** DER tags. @see ITU-T X.690 */
const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const BOOLEAN = 0x01;
const OID = 0x06;

const DAY_MS = 24 * 60 * 60 * 1000;

const ECDSA_WITH_SHA256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const COMMON_NAME = [0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME = [0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS = [0x55, 0x1d, 0x13];

/** @param hosts names beside 127.0.0.1 and localhost */
export function makeCertificate(
  hosts: readonly string[] = [],
  { issuer, name: ownName = 'test', days = [-1, 1] }: CertificateOptions = {},
): Certificate & { readonly name: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = der(SEQUENCE, der(OID, ECDSA_WITH_SHA256));
  const toName = (text: string) =>
    der(
      SEQUENCE,
      der(SET, der(SEQUENCE, der(OID, COMMON_NAME), der(UTF8_STRING, Buffer.from(text)))),
    );
  const validity = der(SEQUENCE, ...days.map((day) => utcTime(Date.now() + day * DAY_MS)));
  const altNames = der(
    SEQUENCE,
    der(0x87, [127, 0, 0, 1]),
    ...['localhost', ...hosts].map((host) => der(0x82, Buffer.from(host))),
  );
  const extensions = der(
    0xa3,
    der(
      SEQUENCE,
      der(
        SEQUENCE,
        der(OID, BASIC_CONSTRAINTS),
        der(BOOLEAN, [0xff]),
        der(OCTET_STRING, der(SEQUENCE, der(BOOLEAN, [0xff]))),
      ),
      der(SEQUENCE, der(OID, SUBJECT_ALT_NAME), der(OCTET_STRING, altNames)),
    ),
  );
  const serial = randomBytes(8);
  serial[0] = 1; // positive, and the shortest form
  const toBeSigned = der(
    SEQUENCE,
    der(0xa0, der(INTEGER, [2])),
    der(INTEGER, serial),
    algorithm,
    toName(issuer?.name ?? ownName),
    validity,
    toName(ownName),
    publicKey.export({ type: 'spki', format: 'der' }),
    extensions,
  );
  const signature = sign('sha256', toBeSigned, issuer?.key ?? privateKey);
  const certificate = der(
    SEQUENCE,
    toBeSigned,
    algorithm,
    der(BIT_STRING, Buffer.concat([Buffer.from([0]), signature])),
  );
  const base64 = certificate.toString('base64').replace(/.{64}(?!$)/g, '$&\n');
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    name: ownName,
  };
}

function der(tag: number, ...parts: readonly (Uint8Array | readonly number[])[]): Buffer {
  const content = Buffer.concat(parts.map((part) => Buffer.from(part)));
  const { length } = content;
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}

function utcTime(timeMs: number): Buffer {
  const digits = new Date(timeMs).toISOString().replace(/[-:T]|\.\d+/g, '');
  return der(UTC_TIME, Buffer.from(digits.slice(2)));
}

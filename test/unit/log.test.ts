// SPDX-License-Identifier: GPL-3.0-or-later

import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StorageError } from '../../src/errors.ts';
import { oneLine } from '../../src/http/words.ts';
import {
  createLogger,
  describeError,
  errorFields,
  formatFields,
  type LogLevel,
} from '../../src/log.ts';
import { redact, safeJson, safeLine } from '../../src/text/safe-text.ts';
import { Secret, secretsIn } from '../../src/text/secret.ts';

function collect(secrets?: () => readonly Secret[]) {
  const lines: [LogLevel, string][] = [];
  const logger = createLogger((level, line) => lines.push([level, line]), secrets);
  return { lines, logger };
}

/** What one message becomes. */
function lineOf(message: string, ...secrets: readonly string[]): string {
  const { lines, logger } = collect(() => secrets.map((text) => new Secret(text)));
  logger.info(message);
  return lines[0]?.[1] ?? '';
}

describe('createLogger', () => {
  test('each level reaches the sink under its name', () => {
    const { lines, logger } = collect();
    logger.error('a');
    logger.warning('b');
    logger.info('c');
    logger.debug('d');
    expect(lines).toEqual([
      ['error', 'a'],
      ['warning', 'b'],
      ['info', 'c'],
      ['debug', 'd'],
    ]);
  });

  test('a message cannot forge a second line, or colours', () => {
    expect(lineOf('a\nE1124 fake\r\t\u001b[31m\u2028b\u007f')).toBe(
      'a\\nE1124 fake\\r\\t\\u001b[31m\\u2028b\\u007f',
    );
    expect(lineOf('Grüße 患者')).toBe('Grüße 患者');
  });

  test('whatever the message, it is one bounded line', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 4000 }), (message) => {
        const line = lineOf(message);
        expect(line).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
        expect(line.length).toBeLessThan(2100);
      }),
    );
    expect(lineOf('x'.repeat(5000))).toBe(`${'x'.repeat(2000)}… (3000 more characters)`);
  });

  test('the values of secrets are blanked, also where a URL has encoded them', () => {
    expect(lineOf('a hunter2/+ b hunter2%2F%2B', 'hunter2/+')).toBe('a [secret] b [secret]');
  });

  test('a secret of few characters does not blank out words', () => {
    expect(lineOf('a bucket', 'a')).toBe('a bucket');
  });

  test('secrets that come to be known later are blanked from then on', () => {
    let known: readonly Secret[] = [];
    const { lines, logger } = collect(() => known);
    logger.info('hunter2hunter2');
    known = [new Secret('hunter2hunter2')];
    logger.info('hunter2hunter2');
    expect(lines.map(([, line]) => line)).toEqual(['hunter2hunter2', '[secret]']);
  });
});

describe('formatFields', () => {
  test('leaves out what is undefined, keeps the order', () => {
    const fields = {
      op: 'read',
      uuid: undefined,
      key: 'a/b.dcm',
      bytes: 0,
      ms: 1.5,
      ok: true,
      n: 2n,
    };
    expect(formatFields(fields)).toBe('op=read key=a/b.dcm bytes=0 ms=1.5 ok=true n=2');
  });

  test.each([
    ['', 'key=""'],
    ['a b', 'key="a b"'],
    ['a"b', 'key="a\\"b"'],
    ['a=b', 'key="a=b"'],
    ['a\nb', 'key="a\\nb"'],
    ['ä/x.dcm', 'key=ä/x.dcm'],
  ])('%j is %s', (value, text) => {
    expect(formatFields({ key: value })).toBe(text);
  });

  test('a value never looks like another field', () => {
    fc.assert(
      fc.property(fc.string(), (value) => {
        const text = formatFields({ key: value, end: 1 });
        const [, written] = /^key=("(?:[^"\\]|\\.)*"|[^\s"]+) end=1$/s.exec(text) ?? [];
        expect(written?.startsWith('"') ? JSON.parse(written) : written).toBe(value);
      }),
    );
  });
});

describe('describeError', () => {
  const socket = Object.assign(new Error('connect ECONNREFUSED hunter2'), { code: 'ECONNREFUSED' });

  test('names code, object, request and what lies beneath', () => {
    const sdk = new Error('https://host/?X-Amz-Signature=hunter2', { cause: socket });
    sdk.name = 'S3ServiceException';
    const error = new StorageError('UNAVAILABLE', 'Endpoint: nobody answers', {
      key: 'a b.dcm',
      requestId: 'R1',
      cause: sdk,
    });
    expect(describeError(error)).toBe(
      'code=UNAVAILABLE key="a b.dcm" requestId=R1 error="Endpoint: nobody answers" cause="S3ServiceException < Error ECONNREFUSED"',
    );
  });

  test('looks into the first of several attempts', () => {
    const cause = new AggregateError([socket, socket]);
    expect(errorFields(new StorageError('UNAVAILABLE', 'x', { cause }))).toMatchObject({
      cause: 'AggregateError < Error ECONNREFUSED',
    });
  });

  test('ends in a circle of causes', () => {
    const circle = new Error('x');
    circle.cause = circle;
    expect(errorFields(new StorageError('INTERNAL', 'x', { cause: circle }))['cause']).toBe(
      'Error < Error < Error < Error < Error',
    );
  });

  test.each([
    [
      new TypeError('x is not a function'),
      'code=INTERNAL error="TypeError: x is not a function" cause=TypeError',
    ],
    ['text', 'code=INTERNAL error=text'],
    [undefined, 'code=INTERNAL error=undefined'],
    [new StorageError('NOT_FOUND', 'gone', { cause: 'text' }), 'code=NOT_FOUND error=gone'],
  ])('%j', (error, line) => {
    expect(describeError(error)).toBe(line);
  });

  test('is one line without a stack', () => {
    const error = new StorageError('INTERNAL', 'a\nb', { cause: new Error('c\nd') });
    expect(describeError(error)).toBe('code=INTERNAL error="a\\\\nb" cause=Error');
  });
});

describe('redact', () => {
  test.each([
    ['https://b.s3/k?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=hunter2&x=1'],
    ['https://b.s3/k?AWSAccessKeyId=AKIA&Signature=hunter2'],
    ['https://storage/k?X-Goog-Signature=hunter2'],
    ['https://a.blob/c?sv=2024&sig=hunter2%3D&se=2030'],
    ['DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hunter2==;EndpointSuffix=x'],
    ['BlobEndpoint=https://a;SharedAccessSignature=hunter2'],
    ['Authorization: AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=h, Signature=hunter2'],
    ['{"authorization":"Bearer hunter2","x":1}'],
    ['authorization=hunter2 and more hunter2'],
    ['Proxy-Authorization: Basic hunter2'],
    ['sent SharedKey account:hunter2'],
    ['http://user:hunter2@proxy:3128/'],
    ['"private_key": "hunter2\\"hunter2"'],
    ['-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----'],
    ['-----BEGIN RSA PRIVATE KEY-----\nhunter2 cut off'],
    ['grant_type=x&client_secret=hunter2&y=1'],
    ["{ access_token: 'hunter2', expires: 1 }"],
    ['X-Amz-Security-Token=hunter2'],
    ['"x-amz-security-token": "hunter2"'],
    ["secretAccessKey: 'hunter2'"],
    ['SecretKey=hunter2'],
    ['https://b.s3/k?X-Amz-Date=1&amp;X-Amz-Signature=hunter2&amp;x=1'],
    [String.raw`"url":"https://a.blob/c?sv=2024\u0026sig=hunter2\u0026se=2030"`],
    ['/login?next=%2Fc%3Fsv%3D2024%26sig%3Dhunter2%252F%26se%3D2030'],
    ['https://a.blob/c?sig=hunter2&#43;hunter2&se=2030'],
    ['{"password":"hunter2'],
    [String.raw`"body":"{\"password\":\"hunter2\\\"hunter2\",\"x\":1}"`],
    ["password='hunter2 hunter2 cut off"],
    ['X-Amz-Security-Token: hunter2'],
    ['x-aws-ec2-metadata-token: hunter2'],
    ['Set-Cookie: session=hunter2; path=/'],
    ['sent Basic hunter2Hunter=='],
    ['no session for eyJhbGciOiJub25lIn0.hunter2hunter2.hunter2'],
    ['ya29.hunter2_hunter2-hunter2 has expired'],
    ['Action=AssumeRoleWithWebIdentity&WebIdentityToken=hunter2&Version=1'],
    [String.raw`http:\/\/user:hunter2@proxy:3128\/`],
    ['sent SharedKeyLite account:hunter2'],
    ['Authorization=GOOG4-RSA-SHA256 hunter2'],
  ])('%s', (text) => {
    const line = redact(text);
    expect(line).not.toContain('hunter2');
    expect(line).toContain('[secret]');
    expect(lineOf(text)).not.toContain('hunter2');
  });

  test.each([
    'op=read uuid=e1f2a3b4-0000-4000-8000-0123456789ab key=a/b.dcm bytes=1 ms=2',
    'AwsS3Storage.SecretKey: is missing, while "AccessKey" is there; write both or neither',
    'The SecretKey does not belong to the AccessKey (SignatureDoesNotMatch)',
    'https://s3.example.org:9000/bucket?list-type=2&prefix=a',
    'write --orthanc http://USER@host:8042',
    'write BlobEndpoint=https://a; SharedAccessSignature=sv=…&sig=…; or "http://user:password@host:3128"',
    'Basic authentication is off, and the server cannot negotiate',
    'the Account is 123456789012 (account_id=123456789012)',
    'https://s3.example.org/folder/a@b',
  ])('leaves alone: %s', (text) => {
    expect(redact(text)).toBe(text);
  });

  const KEYWORDS = [
    'Authorization',
    'password',
    'sig',
    'X-Amz-Signature=',
    'x-amz-security-token:',
    'Cookie',
    '"token":"',
    "id_token: '",
    'Bearer ',
    'Basic ',
    'eyJ',
    'ya29.',
    '-----BEGIN PRIVATE KEY-----',
    '-----BEGIN ',
    '-----END ',
    '://',
    'http://a@',
    'AccountKey=&#',
    'sig%3D',
    '\\"password\\": \\"',
    '',
  ];
  const CHARACTERS = Array.from(
    '\\"\'\t\n\r :=@/&;#%-_.,<>{}[]()a0\u0000\u001b\u0085\u202e\u2028\ud800\ue000',
  );

  test.each(KEYWORDS)('takes no longer than the text is long, whatever is around %j', (keyword) => {
    for (const character of CHARACTERS) {
      const many = character.repeat(20_000);
      for (const text of [
        keyword + many,
        many + keyword,
        keyword + many + keyword,
        (keyword + character).repeat(2_000),
        `${keyword}${'\\'.repeat(60)}${character}`,
      ]) {
        const start = performance.now();
        redact(text);
        expect(performance.now() - start, JSON.stringify(text.slice(0, 40))).toBeLessThan(500);
      }
    }
  });

  test('400,000 blanks, and whatever else a log is given, take a moment', () => {
    const start = performance.now();
    lineOf(`password${' '.repeat(400_000)}=${' '.repeat(400_000)}"`);
    // Nothing looks at what is so far behind.
    expect(oneLine(`${' '.repeat(400_000)}x${' '.repeat(400_000)}`)).toBe('');
    expect(performance.now() - start).toBeLessThan(100);
  });
});

describe('safeLine and safeJson', () => {
  test.each([
    ['\u001b[2J', '\\u001b[2J'],
    ['\u009b31m\u0085', '\\u009b31m\\u0085'],
    ['\u202egnp.exe\u2066\u2069', '\\u202egnp.exe\\u2066\\u2069'],
    ['a\u200b\u2060\ufeff\u00ad', 'a\\u200b\\u2060\\ufeff\\u00ad'],
    ['a\u{e0041}', 'a\\udb40\\udc41'],
    ['\ud800', '\\ud800'],
    ['Grüße 患者 \u{1f600}', 'Grüße 患者 \u{1f600}'],
  ])('%j is shown as %j', (text, shown) => {
    expect(safeLine(text)).toBe(shown);
  });

  test('JSON shows none of it, and means the same', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.constantFrom(undefined, 2), (key, indent) => {
        const json = safeJson({ key, more: [key] }, indent);
        expect(json.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
        expect(JSON.parse(json)).toEqual({ key, more: [key] });
      }),
    );
  });

  test('the lines of an error are ours alone', () => {
    const error = new StorageError('BAD_CONFIG', ['A: wrong\nB: forged', 'C: sig=hunter2']);
    expect(error.message).toBe('A: wrong\\nB: forged\nC: sig=[secret]');
  });
});

describe('Secret', () => {
  const secret = new Secret('hunter2');

  test('shows itself to nobody but reveal', () => {
    expect(`${String(secret)} ${JSON.stringify({ secret })}`).not.toContain('hunter2');
    expect(inspect({ secret }, { depth: 9, showHidden: true })).not.toContain('hunter2');
    expect(secret.reveal()).toBe('hunter2');
  });

  test('is found wherever it is', () => {
    const other = new Secret('other');
    expect(secretsIn({ a: [1, { b: secret }], c: null, d: 'x', e: { f: other } })).toEqual([
      secret,
      other,
    ]);
  });
});

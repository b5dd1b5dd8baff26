// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { hostname, networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  connectToOrthanc,
  type OrthancOptions,
  parseOrthancUrl,
} from '../../../../src/tools/common/orthanc-http.ts';
import { expectFailure } from '../../../support/bodies.ts';
import { makeCertificate } from '../../../support/certificate.ts';
import { withEnvironment } from '../../../support/environment.ts';

/** With all that breaks addresses. */
const PASSWORD = 'p@ss/w#rd?50%41\\:x';

let folder: string;
let servers: Server[];
let written: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'orthanc-http-'));
  servers = [];
  written = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    written += String(text);
    return true;
  });
  vi.stubEnv('ORTHANC_PASSWORD', undefined);
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});

async function listen(server: Server, host = '127.0.0.1'): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, host, resolve);
  });
  return (server.address() as AddressInfo).port;
}

/** An Orthanc that tells whom it was asked by, as "user:password". */
const tellLogin: RequestListener = (request, response) => {
  response.end(JSON.stringify(decode(request.headers.authorization)));
};
const decode = (header = '') => Buffer.from(header.replace(/^Basic /, ''), 'base64').toString();

/** As Orthanc checks it. */
const wantLogin =
  (login: string): RequestListener =>
  (request, response) => {
    response.statusCode = decode(request.headers.authorization) === login ? 200 : 401;
    response.end('{"Name":"Orthanc"}');
  };

function ask(
  orthanc: string | true,
  configuration: object = {},
  options: Partial<OrthancOptions> = {},
) {
  const config = join(folder, 'orthanc.json');
  writeFileSync(config, JSON.stringify(configuration));
  const address = orthanc === true ? true : parseOrthancUrl(orthanc);
  return connectToOrthanc({ config, orthanc: address, ...options }).get('/system');
}

function passwordFile(text: string): string {
  const file = join(folder, 'password');
  writeFileSync(file, text);
  return file;
}

test('what fails for a moment in the middle of a run is asked again', async () => {
  const outcomes: ('answer' | 'reset' | 503)[] = ['answer', 'reset', 503, 'answer', 503];
  const port = await listen(
    createServer((_request, response) => {
      const outcome = outcomes.shift() ?? 'answer';
      if (outcome === 'reset') response.destroy();
      else {
        response.statusCode = outcome === 503 ? 503 : 200;
        response.end('{"Name":"Orthanc"}');
      }
    }),
  );
  const config = join(folder, 'orthanc.json');
  writeFileSync(config, '{}');
  const api = connectToOrthanc({ config, orthanc: new URL(`http://127.0.0.1:${port}`) });
  for (let times = 0; times < 3; times += 1) {
    expect(await api.get('/system')).toEqual({ Name: 'Orthanc' });
  }
  expect(outcomes).toEqual([]);
});

test('the first question is not repeated: the address may be wrong', async () => {
  let asked = 0;
  const port = await listen(
    createServer((_request, response) => {
      asked += 1;
      response.statusCode = 503;
      response.end();
    }),
  );
  await expectFailure(ask(`http://127.0.0.1:${port}`), 'UNAVAILABLE', /503/);
  expect(asked).toBe(1);
});

describe('an address that holds a password', () => {
  test('works, also with "@" and "%" in it, and is warned of', async () => {
    const port = await listen(createServer(tellLogin));
    for (const [text, password] of [
      ['pass%20word', 'pass word'],
      // Where it begins no code, "%" stands for itself.
      ['50%off', '50%off'],
      ['50%25off', '50%off'],
      ['p@ss', 'p@ss'],
    ] as const) {
      written = '';
      expect(await ask(`http://user:${text}@127.0.0.1:${port}/`)).toBe(`user:${password}`);
      expect(written).toMatch(
        /^warning: --orthanc holds a password, .* list of processes.*ORTHANC_PASSWORD.*--orthanc-password-file\n$/,
      );
      expect(written).not.toContain(text);
      expect(written).not.toContain(password);
    }
  });

  // The first four would ask for the host "user".
  test.each([
    'http://user:99/zq@127.0.0.1:8042',
    'http://user:99#zq@127.0.0.1:8042',
    'http://user:99?zq@127.0.0.1:8042',
    'http://user:99\\zq@127.0.0.1:8042',
    'http://user:zq@zq/zq@127.0.0.1:8042',
    'http://user:zq@%zq/zq@127.0.0.1:8042',
    'http://zq/zq:zq@127.0.0.1:8042',
    'http://zq#zq:zq@127.0.0.1:8042',
    'http://127.0.0.1:8042/#zq',
    'http://127.0.0.1:8042?zq',
    'http://user:zq zq',
    'user:zq@127.0.0.1:8042',
    'http://user:zq',
    'zq',
  ])('%s is refused before anybody is asked, without a part of it', (text) => {
    let refusal: unknown;
    try {
      parseOrthancUrl(text);
    } catch (error) {
      refusal = error;
    }
    expect(String(refusal)).toMatch(
      /error: --orthanc (holds .*ORTHANC_PASSWORD.*|must be a URL such as http:\/\/127\.0\.0\.1:8042, or http:\/\/USER@host:8042)/,
    );
    expect(JSON.stringify(refusal) + String(refusal)).not.toMatch(/zq|99|user/);
  });

  test('a path below which Orthanc is, behind a proxy, is none of that', async () => {
    const port = await listen(
      createServer((request, response) => {
        response.end(JSON.stringify(request.url));
      }),
    );
    expect(await ask(`http://127.0.0.1:${port}/orthanc/`)).toBe('/orthanc/system');
  });
});

describe('a password from elsewhere', () => {
  test('the environment variable, for the user in the address', async () => {
    const port = await listen(createServer(tellLogin));
    await withEnvironment({ ORTHANC_PASSWORD: PASSWORD }, async () => {
      expect(await ask(`http://alice@127.0.0.1:${port}`)).toBe(`alice:${PASSWORD}`);
      // Whose it is, nobody has said: it may be another server's.
      expect(await ask(`http://127.0.0.1:${port}`)).toBe('');
    });
    expect(written).toBe('');
  });

  test('the first line of a file, before the variable', async () => {
    const port = await listen(createServer(tellLogin));
    const url = `http://alice@127.0.0.1:${port}`;
    await withEnvironment({ ORTHANC_PASSWORD: 'other' }, async () => {
      for (const end of ['', '\n', '\r\n', '\n# a remark\n']) {
        const orthancPasswordFile = passwordFile(PASSWORD + end);
        expect(await ask(url, {}, { orthancPasswordFile })).toBe(`alice:${PASSWORD}`);
      }
    });
  });

  test('a file that is none is told without its name, which may be the password', async () => {
    const ofFile = (orthancPasswordFile: string, url = 'http://alice@127.0.0.1:9') =>
      expectFailure(
        (async () => await ask(url, {}, { orthancPasswordFile }))(),
        'BAD_CONFIG',
        /^--orthanc-password-file: /,
      );
    const { message } = await ofFile('s3cret');
    expect(message).toBe('--orthanc-password-file: cannot be read (ENOENT)');
    expect((await ofFile(passwordFile('\n'))).message).toMatch(/first line is empty$/);
    expect((await ofFile(passwordFile(PASSWORD), 'http://127.0.0.1:9')).message).toMatch(
      /the user is missing.*http:\/\/USER@host/,
    );
  });
});

describe('RegisteredUsers of the configuration', () => {
  const RegisteredUsers = { alice: PASSWORD, bob: 'b0b' };

  test('the first of them, or the one in the address, for an Orthanc on this machine', async () => {
    const port = await listen(createServer(tellLogin), '::');
    const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
    const addresses = own.filter(({ family }) => family === 'IPv4').map(({ address }) => address);
    for (const host of ['127.0.0.1', 'localhost', '[::1]', ...addresses]) {
      const found = ask(`http://${host}:${port}`, { RegisteredUsers });
      expect([host, await found]).toEqual([host, `alice:${PASSWORD}`]);
    }
    const { href } = new URL(`http://bob@127.0.0.1:${port}`);
    expect(await ask(href, { RegisteredUsers })).toBe('bob:b0b');
    expect(written).toBe('');
  });

  test('by the name of this machine', async () => {
    const port = await listen(createServer(tellLogin), '0.0.0.0');
    // Where the name leads is the machine's own affair.
    const found = ask(`http://${hostname()}:${port}`, { RegisteredUsers }).catch(() => 'no name');
    expect([`alice:${PASSWORD}`, 'no name']).toContain(await found);
  });

  test('without a URL, at the address that the configuration tells', async () => {
    const HttpPort = await listen(createServer(tellLogin));
    expect(await ask(true, { HttpPort, RegisteredUsers })).toBe(`alice:${PASSWORD}`);
    expect(await ask(true, { HttpPort, RegisteredUsers, AuthenticationEnabled: false })).toBe('');
    expect(await ask(true, { HttpPort })).toBe('');
    for (const [configuration, message] of [
      [{ HttpServerEnabled: false }, /^HttpServerEnabled: is false/],
      [{ HttpPort: 'http' }, /^HttpPort: /],
    ] as const) {
      await expectFailure((async () => await ask(true, configuration))(), 'BAD_CONFIG', message);
    }
  });

  test('are nobody else’s: neither for another port of this machine, nor for another machine', async () => {
    const port = await listen(createServer(tellLogin));
    const other = await listen(createServer(tellLogin));
    // Such as the end of a tunnel.
    expect(await ask(`http://127.0.0.1:${other}`, { HttpPort: port, RegisteredUsers })).toBe('');
    // An address that is none of this machine's, and leads to it all the same.
    expect(await ask(`http://0.0.0.0:${port}`, { RegisteredUsers })).toBe('');
  });
});

describe('what Orthanc refuses', () => {
  test('no password, a wrong one, and where it came from', async () => {
    const port = await listen(createServer(wantLogin('alice:right')));
    const url = `http://127.0.0.1:${port}`;
    const as = (user: string) => url.replace('//', `//${user}@`);
    const refused = async (orthanc: string, ...more: [object?, Partial<OrthancOptions>?]) =>
      (await expectFailure(ask(orthanc, ...more), 'ACCESS_DENIED')).message;
    const RegisteredUsers = { alice: PASSWORD };

    expect(await refused(url)).toMatch(
      /asks for a user and a password; write the user into the address, --orthanc http:\/\/USER@.*ORTHANC_PASSWORD.*--orthanc-password-file.*RegisteredUsers/,
    );
    const messages = [
      await refused(as(`alice:${encodeURIComponent(PASSWORD)}`)),
      await refused(url, { RegisteredUsers }),
      await refused(as('alice'), {}, { orthancPasswordFile: passwordFile(PASSWORD) }),
      await refused(as('alice')),
    ];
    vi.stubEnv('ORTHANC_PASSWORD', PASSWORD);
    messages.push(await refused(as('alice')));
    expect(messages).toEqual(
      [
        /asks for another user or password than those in the URL, in which "%25" stands for "%";/,
        /than "alice" of RegisteredUsers in .*orthanc\.json, if that is what it was started with;/,
        /than that user with the password of --orthanc-password-file;/,
        /than that user without a password, of which there was none;/,
        /than that user with the password in ORTHANC_PASSWORD;/,
      ].map((message) => expect.stringMatching(message) as string),
    );
    for (const part of [PASSWORD, encodeURIComponent(PASSWORD), 'ss/w', '%41', 'w#rd']) {
      expect(messages.join() + written).not.toContain(part);
    }
  });

  test('403 is no question of the password', async () => {
    const port = await listen(
      createServer((_request, response) => {
        response.statusCode = 403;
        response.end();
      }),
    );
    const url = `http://127.0.0.1:${port}`;
    await expectFailure(ask(url), 'ACCESS_DENIED', /answers 403, not allowed, without a user: /);
    await expectFailure(
      ask(url, { RegisteredUsers: { alice: PASSWORD } }),
      'ACCESS_DENIED',
      /answers 403, not allowed, to this user, whose password is right/,
    );
  });

  test('a redirection is not followed, and of its address only the host is told', async () => {
    let asked = 0;
    const other = await listen(
      createServer((_request, response) => {
        asked += 1;
        response.end('{}');
      }),
    );
    const port = await listen(
      createServer((_request, response) => {
        response.writeHead(302, { location: `http://u:s3cret@127.0.0.1:${other}/?t=s3cret` });
        response.end();
      }),
    );
    const { message } = await expectFailure(
      ask(`http://127.0.0.1:${port}`, { RegisteredUsers: { alice: PASSWORD } }),
      'UNAVAILABLE',
      new RegExp(`sends on to http://127\\.0\\.0\\.1:${other} \\(302\\)`),
    );
    expect(message).not.toContain('s3cret');
    expect(asked).toBe(0);
  });
});

describe('TLS', () => {
  test('by Orthanc’s own certificate, which HttpsCACertificates names', async () => {
    const certificate = makeCertificate();
    const HttpPort = await listen(createTlsServer(certificate, tellLogin));
    const HttpsCACertificates = join(folder, 'ca.pem');
    writeFileSync(HttpsCACertificates, certificate.cert);
    const RegisteredUsers = { alice: PASSWORD };
    const all = { SslEnabled: true, HttpPort, HttpsCACertificates, RegisteredUsers };
    expect(await ask(true, all)).toBe(`alice:${PASSWORD}`);
    expect(await ask(`https://127.0.0.1:${HttpPort}`, all)).toBe(`alice:${PASSWORD}`);
    const { message } = await expectFailure(
      ask(true, { ...all, HttpsCACertificates: '' }),
      'UNAVAILABLE',
      /certificate is not trusted .*HttpsCACertificates.*NODE_EXTRA_CA_CERTS/,
    );
    expect(message).not.toContain(PASSWORD);
    writeFileSync(HttpsCACertificates, makeCertificate().cert);
    await expectFailure(ask(true, all), 'UNAVAILABLE', /certificate is not trusted/);
  });

  test('plain HTTP where TLS is expected, and a server that is away', async () => {
    const port = await listen(createServer(tellLogin));
    await expectFailure(ask(`https://127.0.0.1:${port}`), 'UNAVAILABLE', /write "http:\/\/"$/);
    const [server] = servers;
    await new Promise((resolve) => server?.close(resolve));
    await expectFailure(
      ask(`http://127.0.0.1:${port}`),
      'UNAVAILABLE',
      /at http:.* \(ECONNREFUSED\)$/,
    );
  });
});

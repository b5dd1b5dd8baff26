// SPDX-License-Identifier: GPL-3.0-or-later
// What the page asks, of a server that answers as Orthanc, the shim or a proxy do.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type * as Api from '../../../src/page/api.ts';
import type * as Find from '../../../src/page/find.ts';

const STUDY = '0123abcd-0123abcd-0123abcd-0123abcd-0123abcd';
const TAGS = { MainDicomTags: { StudyDate: '20261130' }, ParentPatient: 'p', ID: STUDY };

interface Answer {
  readonly status?: number;
  readonly type?: string;
  readonly body: string;
}
/** undefined: it hangs. */
let answerTo: (path: string, body: string) => Answer | undefined;

const server = createServer((request, response) => void serve(request, response));
let api: typeof Api;
let find: typeof Find;

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  const answer = answerTo(request.url ?? '', Buffer.concat(pieces).toString());
  if (answer === undefined) return;
  response.writeHead(answer.status ?? 200, { 'content-type': answer.type ?? 'application/json' });
  response.end(answer.body);
}

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  // With a host in it, Node knows whom to ask.
  vi.stubGlobal('location', { pathname: `http://127.0.0.1:${port}/object-storage/app/` });
  api = await import('../../../src/page/api.ts');
  find = await import('../../../src/page/find.ts');
  vi.unstubAllGlobals();
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  answerTo = () => ({ status: 404, body: '{}' });
});

const signal = () => AbortSignal.timeout(10_000);

test('an Orthanc that hangs does not answer', async () => {
  answerTo = () => undefined;
  await expect(api.pollJson('/object-storage/status', 50)).rejects.toMatchObject({
    refusal: 'unreachable',
    message: 'Orthanc does not answer.',
  });
});

test.each([
  [{ type: 'text/html; charset=utf-8', body: '<form>Sign in</form>' }, 'unauthorized', /sign in/],
  [{ status: 401, body: '' }, 'unauthorized', /sign in/],
  [
    { status: 503, type: 'text/plain', body: 'the runtime starts again\n' },
    'unreachable',
    /^the runtime starts again$/,
  ],
  [
    { status: 503, type: 'text/plain', body: 'x'.repeat(9000) },
    'unreachable',
    /^Orthanc is not ready \(HTTP 503\)\.$/,
  ],
  [{ status: 500, body: '{"error":"it failed"}' }, 'failed', /^it failed$/],
] as const)('%j', async (answer, refusal, message) => {
  answerTo = () => answer;
  await expect(api.getJson('/')).rejects.toMatchObject({
    refusal,
    message: expect.stringMatching(message),
  });
});

test.each(['1.2.840.113619.2.5.1762583153', '1.2.3'])('the UID %s is found', async (uid) => {
  answerTo = (path, body) => {
    if (path === `/studies/${STUDY}`) return { body: JSON.stringify(TAGS) };
    // Orthanc takes the body as it is: a quoted one is no UID.
    const isFound = path === '/tools/lookup' && body === uid;
    return { body: JSON.stringify(isFound ? [{ Type: 'Study', ID: STUDY }] : []) };
  };
  const { found } = await find.findResources(uid, signal());
  expect(found).toMatchObject([{ level: 'studies', id: STUDY, date: '2026-11-30' }]);
});

test('what may not be searched is not told as missing', async () => {
  answerTo = (path) =>
    path.startsWith('/patients/') ? { status: 403, body: '{}' } : { status: 404, body: '{}' };
  await expect(find.findResources(STUDY, signal())).rejects.toMatchObject({ refusal: 'forbidden' });
});

test('by one of three questions, more than are shown', async () => {
  const studies = Array.from({ length: 26 }, (_, index) => ({ ...TAGS, ID: String(index) }));
  answerTo = (_path, body) => ({
    body: JSON.stringify(body.includes('"PatientID"') ? studies : []),
  });
  const { found, isCut } = await find.findResources('P-1', signal());
  expect([found.length, isCut]).toEqual([25, true]);
});

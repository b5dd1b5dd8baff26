// SPDX-License-Identifier: GPL-3.0-or-later
// What the plugin writes into Orthanc's log, at the level that tells most. Orthanc's own lines are Orthanc's business: at that level
// they may hold DICOM values.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeBytes } from '../support/bodies.ts';
import { makeDicom } from '../support/dicom.ts';
import { parseLogLine } from '../support/log-rule.ts';
import { expectDocumented } from '../support/messages.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { createWorld, SECRET_KEY, type World } from '../support/world.ts';

const PATIENT = { patientId: 'SECRET-PATIENT-ID', patientName: 'Geheim^Patientin' };

let world: World;
let orthanc: Orthanc;

beforeAll(async () => {
  world = await createWorld();
  orthanc = await world.start('traced', {
    verbosity: '--trace',
    configuration: {
      MaximumStorageCacheSize: 0,
      UserContentType: { report: 1030 },
      AwsS3Storage: {
        ...world.section,
        RequestTimeout: 2,
        MaxRetries: 1,
        EnableAwsSdkLogs: true,
        Tags: { project: 'radiology' },
      },
    },
  });
});

afterAll(() => world.close());

test('neither patient data nor secrets, whatever happens', async () => {
  const file = makeDicom({ sopInstanceUid: '1.2.3.1', pixelBytes: 5000, ...PATIENT });
  const { ID, ParentPatient } = await orthanc.upload(file);
  await orthanc.get(`/instances/${ID}/file`);
  await orthanc.get(`/instances/${ID}/tags`);
  await orthanc.request('PUT', `/patients/${ParentPatient}/attachments/report`, makeBytes(10));
  await orthanc.get('/object-storage/status');
  for (const status of [403, 404, 503]) {
    world.proxy.setFault(() => ({ kind: 'answer', status, body: BODY }));
    await orthanc.request('GET', `/instances/${ID}/file`);
    await orthanc.request(
      'POST',
      '/instances',
      makeDicom({ sopInstanceUid: '1.2.3.2', pixelBytes: 10, ...PATIENT }),
    );
  }
  world.proxy.setFault(() => ({ kind: 'hang' }));
  await orthanc.request('GET', `/instances/${ID}/file`);
  world.proxy.setFault(undefined);
  await orthanc.request('DELETE', `/patients/${ParentPatient}`);
  expect(await orthanc.stop()).toBe(0);

  const log = orthanc.log();
  const lines = orthanc.pluginLines();
  // There is something to look at: one line for each operation, and the SDK's own.
  expect(lines.length).toBeGreaterThan(12);
  expect(lines.join('\n')).toMatch(/op=create .*op=read.*op=remove /s);
  for (const text of [...Object.values(PATIENT), 'Geheim', 'X-Amz-Signature', 'Signature=']) {
    expect(
      lines.filter((line) => line.includes(text)),
      text,
    ).toEqual([]);
  }
  expect(log).not.toContain(SECRET_KEY);
  expect(log).not.toContain(encodeURIComponent(SECRET_KEY));
  expect(log).not.toContain('AWS4-HMAC-SHA256 Credential');
});

test('nothing is written past the log', () => {
  // SQL of Orthanc's own goes on over several lines; Node's words would be among them.
  expect(orthanc.log()).not.toMatch(/^\(node:\d+\)|trace-warnings/m);
});

test('every line is one line of printable text', () => {
  for (const line of orthanc.pluginLines()) {
    expect(line).toMatch(
      /^[EWIT]\d{4} [\d:.]+ +\S+ object-storage:\/(shim|typescript):0\] [\P{Cc}]+$/u,
    );
  }
});

test('a collector takes each line apart, and docs/messages.md has what it says', () => {
  for (const line of orthanc.pluginLines()) {
    const { level, text, values } = parseLogLine(line) ?? {};
    expect(level, line).toBe(line.charAt(0));
    if (text?.startsWith('op='))
      expect(values, line).toMatchObject({ op: /^op=(\S+)/.exec(text)?.[1] });
    // Of the lines about what went well, and of the SDKs', docs/logs.md has the form.
    if (level !== 'T' && text?.startsWith('AWS SDK') === false) expectDocumented(text);
  }
});

/** What an evil or chatty server might say. */
const BODY =
  '<?xml version="1.0"?><Error><Code>Strange</Code><Message>two\nlines\u0007</Message></Error>';

test("where attachments go is said once, also at Orthanc's own log level", async () => {
  const quiet = await world.start('quiet');
  expect(await quiet.stop()).toBe(0);
  const said = quiet.pluginLines().filter((line) => line.includes('Attachments are stored in'));
  expect(said).toEqual([expect.stringMatching(/s3 "[^"]+", not encrypted$/)]);
});

// SPDX-License-Identifier: GPL-3.0-or-later

import { type GoogleService, startGoogle } from '../../scripts/services.mjs';
import type { GoogleSettings } from '../../src/providers/google/settings.ts';
import { createGoogleStore } from '../../src/providers/google/store.ts';
import { makeGoogleSettings } from '../support/google.ts';
import { makeLogger } from '../support/settings.ts';
import { type Mistake, storeConformance } from './store-conformance.ts';

const BUCKET = 'conformance';

let server: GoogleService | undefined;

function changesFor(mistake: Mistake | undefined): Partial<GoogleSettings> {
  switch (mistake) {
    case undefined:
      return {};
    case 'missing bucket':
      return { bucketName: 'no-such-bucket' };
    case 'wrong secret':
    case 'unknown user':
      throw new Error('fake-gcs-server checks no credentials');
    case 'nobody listens':
      return { endpoint: 'http://127.0.0.1:9' };
    default:
      return mistake satisfies never;
  }
}

storeConformance({
  name: 'Google Cloud Storage (fake-gcs-server)',
  async start() {
    server = await startGoogle();
    await server.createBucket(BUCKET);
  },
  async stop() {
    await server?.stop();
  },
  open(limits, mistake) {
    if (server === undefined) throw new Error('not started');
    const usual = { endpoint: server.endpoint, bucketName: BUCKET, ...limits };
    const settings = makeGoogleSettings({ ...usual, ...changesFor(mistake) });
    return createGoogleStore(settings, { log: makeLogger() });
  },
  multipartFromBytes: 16 * 1024 * 1024,
  // fake-gcs-server checks no credentials (https://github.com/fsouza/fake-gcs-server): they are the business of
  // test/faults/google-start.test.ts.
  checkFailures: { 'missing bucket': 'BAD_CONFIG', 'nobody listens': 'UNAVAILABLE' },
  gaps: {},
});

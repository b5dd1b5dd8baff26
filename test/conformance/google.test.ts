// SPDX-License-Identifier: GPL-3.0-or-later

import { type GoogleService, startGoogle } from '../../scripts/services.mjs';
import type { GoogleSettings } from '../../src/config/settings.ts';
import { createGoogleStore } from '../../src/providers/google/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import { withLimit } from '../../src/store/limit.ts';
import { makeGoogleSettings } from '../support/google.ts';
import { makeLogger } from '../support/settings.ts';
import { storeConformance, type Variation } from './store-conformance.ts';

const BUCKET = 'conformance';

let server: GoogleService | undefined;

function settingsFor(service: GoogleService, variation: Variation): GoogleSettings {
  const usual = makeGoogleSettings({ endpoint: service.endpoint, bucketName: BUCKET });
  switch (variation) {
    case 'usual':
      return usual;
    case 'few connections':
      return { ...usual, maxConnections: 5 };
    case 'short deadline':
      return { ...usual, requestTimeoutMs: 20 };
    case 'missing bucket':
      return { ...usual, bucketName: 'no-such-bucket' };
    case 'wrong secret':
    case 'unknown user':
      throw new Error('fake-gcs-server checks no credentials');
    case 'nobody listens':
      return { ...usual, endpoint: 'http://127.0.0.1:9' };
    default:
      return variation satisfies never;
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
  open(variation) {
    if (server === undefined) throw new Error('not started');
    const settings = settingsFor(server, variation);
    const store = createGoogleStore(settings, { log: makeLogger() });
    return Promise.resolve(
      withDeadline(withLimit(store, settings.maxConnections), settings.requestTimeoutMs),
    );
  },
  multipartFromBytes: 16 * 1024 * 1024,
  // fake-gcs-server checks no credentials (https://github.com/fsouza/fake-gcs-server): they are the business of
  // test/faults/google-start.test.ts.
  checkFailures: { 'missing bucket': 'BAD_CONFIG', 'nobody listens': 'UNAVAILABLE' },
  gaps: {},
});

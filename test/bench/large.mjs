// SPDX-License-Identifier: GPL-3.0-or-later
// npm run bench:large [-- MEGABYTES [ROUNDS [PROVIDER…]]]: one large object up and down, beside one curl doing the same with the same
// server and no checksum, in turns. Needs curl.

import { execFile } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { startAzure, startGoogle, startS3 } from '../../scripts/services.mjs';
import { bundleBench } from './bundle.mjs';

const run = promisify(execFile);
const megabytes = Number(process.argv[2] ?? 512);
const rounds = Number(process.argv[3] ?? 5);
const chosen = process.argv.slice(4);
const bucket = 'bench';

/**
 * @typedef {object} Target
 * @property {Record<string, string>} access
 * @property {(direction: 'put' | 'get') => string[]} curl what curl needs to reach the object "curl"
 * @property {() => Promise<void>} stop
 */

/** @type {Record<string, (folder: string) => Promise<Target>>} */
const targets = {
  async s3(folder) {
    const s3 = await startS3({ folder });
    await s3.createBucket(bucket);
    const { endpoint, accessKey, secretKey } = s3;
    const signed = [
      '--aws-sigv4',
      `aws:amz:${s3.region}:s3`,
      '--user',
      `${accessKey}:${secretKey}`,
    ];
    return {
      access: { endpoint, accessKey, secretKey },
      curl: () => [
        ...[...signed, '--header', 'x-amz-content-sha256: UNSIGNED-PAYLOAD'],
        `${endpoint}/${bucket}/curl`,
      ],
      stop: s3.stop,
    };
  },
  async azure(folder) {
    const azure = await startAzure({ folder });
    const endpoint = `${azure.endpoint}/${azure.accountName}`;
    const query = signContainer(azure);
    await run('curl', [
      '--silent',
      '--fail',
      '--request',
      'PUT',
      '--data',
      '',
      `${endpoint}/${bucket}?restype=container&${query}`,
    ]);
    return {
      access: { endpoint, accessKey: azure.accountName, secretKey: azure.accountKey },
      curl: (direction) => [
        ...(direction === 'put' ? ['--header', 'x-ms-blob-type: BlockBlob'] : []),
        `${endpoint}/${bucket}/curl?${query}`,
      ],
      stop: azure.stop,
    };
  },
  async google(folder) {
    const google = await startGoogle({ folder });
    await google.createBucket(bucket);
    const { endpoint } = google;
    return {
      access: { endpoint, accessKey: '', secretKey: '' },
      curl: (direction) =>
        direction === 'put'
          ? [
              '--request',
              'POST',
              `${endpoint}/upload/storage/v1/b/${bucket}/o?uploadType=media&name=curl`,
            ]
          : [`${endpoint}/storage/v1/b/${bucket}/o/curl?alt=media`],
      stop: google.stop,
    };
  },
};
const shorten = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

const folder = await mkdtemp(join(tmpdir(), 'large-bench-'));
try {
  const bench = await bundleBench('large.bench.ts', folder);
  const file = join(folder, 'content');
  await writeFile(file, randomBytes(megabytes * 1_000_000));
  console.log(
    `| ${megabytes} MB | curl MB/s | plugin MB/s | times curl | CPU s | growth MB | loop blocked ms |`,
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const provider of chosen.length > 0 ? chosen : Object.keys(targets)) {
    const target = await targets[provider](join(folder, provider));
    try {
      for (const operation of /** @type {const} */ (['put', 'get'])) {
        const theirs = [];
        const ours = [];
        for (let round = 0; round < rounds; round += 1) {
          theirs.push(await timeCurl(target, operation, file));
          const access = { provider, bucket, lean: true, authorities: '', ...target.access };
          const args = JSON.stringify({ access, operation, key: 'plugin', file });
          const { stdout } = await run(process.execPath, ['--no-warnings', bench, args]);
          ours.push(JSON.parse(stdout));
        }
        const median = (name) => shorten(ours.map((outcome) => outcome[name]));
        const [raw, own] = [shorten(theirs), median('seconds')];
        const cells = [
          `${provider} ${operation}`,
          (megabytes / raw).toFixed(0),
          (megabytes / own).toFixed(0),
          (raw / own).toFixed(2),
          median('cpuSeconds').toFixed(2),
          median('peakMb').toFixed(0),
          median('longestBlockMs').toFixed(0),
        ];
        console.log(`| ${cells.join(' | ')} |`);
      }
    } finally {
      await target.stop();
    }
  }
} finally {
  await rm(folder, { recursive: true });
}

/** @returns seconds, as curl itself measures them */
async function timeCurl(target, operation, file) {
  const { stdout } = await run('curl', [
    ...['--silent', '--show-error', '--fail', '--output', '/dev/null'],
    ...['--write-out', '%{time_total}', '--header', 'Expect:'],
    ...(operation === 'put' ? ['--upload-file', file] : []),
    ...target.curl(operation),
  ]);
  return Number(stdout);
}

/**
 * A shared access signature for the container, for an hour.
 * @param {import('../../scripts/services.mjs').AzureService} azure
 * @see https://learn.microsoft.com/en-us/rest/api/storageservices/create-service-sas
 */
function signContainer({ accountName, accountKey }) {
  const version = '2022-11-02';
  const expiry = `${new Date(Date.now() + 3_600_000).toISOString().slice(0, 19)}Z`;
  const fields = [accountName, 'rwdlac', 'b', 'sco', '', expiry, '', '', version, '', ''];
  const signature = createHmac('sha256', Buffer.from(accountKey, 'base64'))
    .update(fields.join('\n'))
    .digest('base64');
  return new URLSearchParams({
    ...{ sv: version, ss: 'b', srt: 'sco', sp: 'rwdlac', se: expiry, sig: signature },
  }).toString();
}

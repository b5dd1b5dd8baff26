// SPDX-License-Identifier: GPL-3.0-or-later
// npm run bench:large -- [--megabytes N] [--rounds N] [--provider s3|azure|google] [--scheme http|https]: one large object up and down,
// beside one curl doing the same with the same server and no checksum, in turns. Needs curl.

import { execFile } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';

import { startAzure, startGoogle, startS3 } from '../../scripts/services.mjs';
import { bundleBench } from './bundle.mjs';
import { writeServiceAccount } from './service-account.mjs';

const run = promisify(execFile);
const { values } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '512' },
    rounds: { type: 'string', default: '5' },
    provider: { type: 'string', multiple: true, default: ['s3', 'azure', 'google'] },
    scheme: { type: 'string', multiple: true, default: ['http', 'https'] },
  },
});
const megabytes = Number(values.megabytes);
const rounds = Number(values.rounds);
const bucket = 'bench';
// biome-ignore format: an option and its value stay together
const CURL = [
  '--silent', '--show-error', '--fail', '--insecure', '--output', '/dev/null', '--write-out', '%{time_total}', '--header', 'Expect:',
];
// A connection for many requests, as clouds have it; versitygw ends one after each by default.
process.env.VGW_KEEP_ALIVE ??= 'true';
const environment = { ...process.env };
// Of the servers that are started here, for this process alone: to make a bucket.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
process.removeAllListeners('warning');

/**
 * @typedef {object} Target
 * @property {Record<string, string>} access
 * @property {(direction: 'put' | 'get') => string[] | Promise<string[]>} curl what curl needs to reach the object "curl"
 * @property {() => Promise<void>} stop
 */

/** @typedef {import('../../scripts/services.mjs').ServiceOptions} ServiceOptions */
/** @type {Record<string, (options: ServiceOptions) => Promise<Target>>} */
const targets = {
  async s3(options) {
    const s3 = await startS3(options);
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
        ...signed,
        '--header',
        'x-amz-content-sha256: UNSIGNED-PAYLOAD',
        `${endpoint}/${bucket}/curl`,
      ],
      stop: s3.stop,
    };
  },
  async azure(options) {
    const azure = await startAzure(options);
    const endpoint = `${azure.endpoint}/${azure.accountName}`;
    const query = signContainer(azure);
    await run('curl', [
      '--silent',
      '--fail',
      '--insecure',
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
  async google(options) {
    const google = await startGoogle(options);
    await google.createBucket(bucket);
    const { endpoint } = google;
    return {
      access: { endpoint, accessKey: '', secretKey: '' },
      curl: async (direction) => {
        if (direction === 'get') return [`${endpoint}/storage/v1/b/${bucket}/o/curl?alt=media`];
        // As the plugin: to a session. The server takes a content of that size in one request at three times the speed.
        const begin = `${endpoint}/upload/storage/v1/b/${bucket}/o?uploadType=resumable&name=curl`;
        const headers = { 'content-type': 'application/json' };
        const session = await fetch(begin, { method: 'POST', headers, body: '{}' });
        const sizeBytes = megabytes * 1_000_000;
        return [
          '--header',
          `Content-Range: bytes 0-${sizeBytes - 1}/${sizeBytes}`,
          session.headers.get('location') ?? '',
        ];
      },
      stop: google.stop,
    };
  },
};
const medianOf = (figures) => figures.toSorted((a, b) => a - b)[figures.length >> 1];

const folder = await mkdtemp(join(tmpdir(), 'large-bench-'));
try {
  const tls = await makeTls();
  const serviceAccountFile = await writeServiceAccount(folder);
  const bench = await bundleBench('large.bench.ts', folder);
  const file = join(folder, 'content');
  await writeFile(file, randomBytes(megabytes * 1_000_000));
  console.log(
    `| ${megabytes} MB | curl MB/s | plugin MB/s | times curl | CPU s | growth MB | loop blocked ms |`,
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const scheme of values.scheme) {
    for (const provider of values.provider) {
      const serverFolder = join(folder, `${provider}-${scheme}`);
      const secure = scheme === 'https' ? { tls } : {};
      const target = await targets[provider]({ folder: serverFolder, ...secure });
      try {
        for (const operation of /** @type {const} */ (['put', 'get'])) {
          await compare(`${provider} ${operation}, ${scheme}`, provider, target, operation);
        }
      } finally {
        await target.stop();
      }
    }
  }

  async function compare(title, provider, target, operation) {
    const theirs = [];
    const ours = [];
    const authorities = tls.certificateFile;
    const common = { provider, bucket, authorities, serviceAccountFile };
    const access = { ...common, ...target.access };
    const args = [
      '--no-warnings',
      bench,
      JSON.stringify({ access, operation, key: 'plugin', file }),
    ];
    for (let round = 0; round < rounds; round += 1) {
      theirs.push(await timeCurl(target, operation, file));
      const { stdout } = await run(process.execPath, args, { env: environment });
      ours.push(JSON.parse(stdout));
    }
    const median = (name) => medianOf(ours.map((outcome) => outcome[name]));
    const [raw, own] = [medianOf(theirs), median('seconds')];
    const cells = [
      title,
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
  await rm(folder, { recursive: true });
}

async function makeTls() {
  const bundle = await bundleBench('../support/certificate.ts', folder);
  const { cert, key } = createRequire(import.meta.url)(bundle).makeCertificate();
  const files = { certificateFile: join(folder, 'ca.pem'), keyFile: join(folder, 'key.pem') };
  await writeFile(files.certificateFile, cert);
  await writeFile(files.keyFile, key);
  return files;
}

/** @returns seconds, as curl itself measures them */
async function timeCurl(target, operation, file) {
  const { stdout } = await run('curl', [
    ...CURL,
    ...(operation === 'put' ? ['--upload-file', file] : []),
    ...(await target.curl(operation)),
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
  const parameters = { sv: version, ss: 'b', srt: 'sco', sp: 'rwdlac', se: expiry, sig: signature };
  return new URLSearchParams(parameters).toString();
}

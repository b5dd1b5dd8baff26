// SPDX-License-Identifier: GPL-3.0-or-later
// node test/bench/migrate.mjs [files] [rounds]: migrate beside "rclone copy --transfers 16", both to versitygw, in turns. rclone is
// Debian's package; needs npm run bundle before.

import { execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startS3 } from '../../scripts/services.mjs';

const BYTES = 100_000;
const TRANSFERS = '16';
const count = Number(process.argv[2] ?? 5000);
const rounds = Number(process.argv[3] ?? 3);

// As clouds do. versitygw's default, a connection for each request, costs either side more than the request itself.
process.env['VGW_KEEP_ALIVE'] ??= 'true';

const folder = mkdtempSync(join(tmpdir(), 'oos-bench-'));
const storage = join(folder, 'storage');
for (let index = 0; index < count; index += 1) {
  const uuid = randomUUID();
  const parent = join(storage, uuid.slice(0, 2), uuid.slice(2, 4));
  mkdirSync(parent, { recursive: true });
  writeFileSync(join(parent, uuid), randomBytes(BYTES));
}
const s3 = await startS3({ folder: join(folder, 's3') });
try {
  await s3.createBucket('bench');
  const config = join(folder, 'orthanc.json');
  const endpoint = `http://127.0.0.1:${s3.port}`;
  /** @type {Record<string, number[]>} */ const seconds = { migrate: [], rclone: [] };
  for (let round = 0; round < rounds; round += 1) {
    const section = {
      BucketName: 'bench',
      Region: s3.region,
      Endpoint: endpoint,
      AccessKey: s3.accessKey,
      SecretKey: s3.secretKey,
      StorageStructure: 'legacy',
      RootPath: `migrate-${round}`,
    };
    writeFileSync(config, JSON.stringify({ StorageDirectory: storage, AwsS3Storage: section }));
    seconds.migrate.push(
      time(process.execPath, [
        'dist/cli.js',
        'migrate',
        '--config',
        config,
        '--parallel',
        TRANSFERS,
      ]),
    );
    seconds.rclone.push(
      time('rclone', ['copy', '--transfers', TRANSFERS, storage, `s3:bench/rclone-${round}`], {
        RCLONE_CONFIG: '/dev/null',
        AWS_CA_BUNDLE: '', // rclone refuses it

        RCLONE_CONFIG_S3_TYPE: 's3',
        RCLONE_CONFIG_S3_PROVIDER: 'Other',
        RCLONE_CONFIG_S3_ENDPOINT: endpoint,
        RCLONE_CONFIG_S3_ACCESS_KEY_ID: s3.accessKey,
        RCLONE_CONFIG_S3_SECRET_ACCESS_KEY: s3.secretKey,
      }),
    );
  }
  for (const [name, all] of Object.entries(seconds)) {
    const rates = all.map((each) => (count / each).toFixed(0));
    process.stdout.write(`${name}: ${rates.join(', ')} files/s\n`);
  }
  const ratio = median(seconds.rclone) / median(seconds.migrate);
  process.stdout.write(`migrate at ${ratio.toFixed(2)} times the speed of rclone (medians)\n`);
} finally {
  await s3.stop();
  rmSync(folder, { recursive: true });
}

/** @param {readonly number[]} values */
function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** @param {string} file @param {string[]} args @param {Record<string, string>} [env] */
function time(file, args, env = {}) {
  const startedMs = performance.now();
  execFileSync(file, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...env },
  });
  return (performance.now() - startedMs) / 1000;
}

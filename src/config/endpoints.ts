// SPDX-License-Identifier: GPL-3.0-or-later
// Whether an address is one to send patient data to.

import { describeSecret } from '../text/secret.ts';
import type { Report } from './problems.ts';
import { isLoopback } from './urls.ts';

/** @param setting that holds the address of a server of S3 or Google's */
export function checkEndpoint(
  setting: string,
  endpoint: string | undefined,
  bucket: string,
  report: Report,
) {
  if (endpoint === undefined) return;
  refuseBucket(setting, endpoint, bucket, report);
  warnOfPlainHttp(setting, endpoint, report);
}

export function warnOfPlainHttp(setting: string, endpoint: string, report: Report) {
  if (!/^http:/i.test(endpoint) || isLoopback(endpoint)) return;
  report.warnings.push(
    `${setting}: without TLS everything, patient data included, crosses the network in the clear; write "https://…"`,
  );
}

/** With the bucket in the address and in BucketName, a server takes the second one for the first folder of every object. Nobody finds these
 *  objects once the address is corrected. */
function refuseBucket(setting: string, endpoint: string, bucket: string, report: Report) {
  const url = new URL(endpoint);
  const rest = restOfHost(url.hostname, bucket);
  const isInHost = rest !== undefined && isHostOfStore(rest, bucket);
  const segments = url.pathname.split('/').filter((segment) => segment !== '');
  // Supabase serves S3 below this path, and a bucket may be called "storage".
  const at = url.pathname === '/storage/v1/s3' ? -1 : segments.indexOf(bucket);
  if (isInHost || at >= 0) {
    const host = isInHost ? url.host.replace(url.hostname, rest) : url.host;
    const before = at < 0 ? segments : segments.slice(0, at);
    const corrected = `${url.protocol}//${[host, ...before].join('/')}`;
    const address = describeSecret(corrected) === undefined ? `"${corrected}"` : 'it without that';
    const folder = [...segments.slice(at + 1), bucket].join('/');
    report.problems.push(
      `${setting}: must not hold the bucket, which BucketName names; write ${address}. Objects that were stored by the present address have "${folder}/" before their names: write that before RootPath`,
    );
    return;
  }
  // The server itself may be called so. No warning where the bucket is named after the kind of server.
  if (rest?.includes('.') === true && !NAMES_OF_STORES.test(bucket)) {
    report.warnings.push(
      `${setting}: its host begins with "${bucket}" as BucketName does; unless the server itself is called so, write the address without it`,
    );
  }
}

/** @returns what follows "bucket."; AWS's interface endpoints begin with "bucket." themselves */
function restOfHost(host: string, bucket: string): string | undefined {
  if (host.startsWith('bucket.vpce-')) return undefined;
  const start = `${bucket.toLowerCase()}.`;
  return host.startsWith(start) ? host.slice(start.length) : undefined;
}

/** Kinds of servers that buckets are named after. */
const NAMES_OF_STORES =
  /^(s3|minio|ceph|rgw|garage|seaweedfs|storage|objects?|objectstore|objectstorage)$/;
/** Hosts of clouds that take a bucket before them. Some begin with a region, and a bucket may be named after a region. */
const HOSTS_OF_CLOUDS = [
  /^s3[.-].*amazonaws\.com(\.cn)?$/,
  /^(bucket\.)?vpce-.*\.amazonaws\.com(\.cn)?$/,
  /^(commondata)?storage\.googleapis\.com$/,
  /^[^.]+\.(digitaloceanspaces|linodeobjects|vultrobjects|your-objectstorage)\.com$/,
  /^[^.]+(\.[^.]+)?\.r2\.cloudflarestorage\.com$/,
  /^(oss|cos|obs)[.-].*\.(aliyuncs|myqcloud|myhuaweicloud)\.com$/,
];

/** True if only a bucket can stand before it. */
function isHostOfStore(rest: string, bucket: string): boolean {
  if (HOSTS_OF_CLOUDS.some((host) => host.test(rest))) return true;
  // "minio.s3.hospital.example" may be a server called minio.
  return /^(s3|minio|ceph|rgw|garage|seaweedfs)[.-]/.test(rest) && !NAMES_OF_STORES.test(bucket);
}

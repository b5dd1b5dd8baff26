// SPDX-License-Identifier: GPL-3.0-or-later
// Checks of addresses that patient data is sent to.

import { describeSecret } from '../text/secret.ts';
import type { Report } from './problems.ts';
import { isLoopback } from './urls.ts';

/** For servers of S3 and Google's API. */
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

/** If the address names the bucket too, the server takes BucketName for the first folder of each key. These objects are lost once the
 *  address is corrected. */
function refuseBucket(setting: string, endpoint: string, bucket: string, report: Report) {
  const url = new URL(endpoint);
  const rest = restOfHost(url.hostname, bucket);
  const isInHost = rest !== undefined && isHostOfStore(rest, bucket);
  const segments = url.pathname.split('/').filter((segment) => segment !== '');
  // Supabase's path. A bucket may be called "storage".
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
  // A warning only: the server itself may have this name, above all if it is one of NAMES_OF_STORES.
  if (rest?.includes('.') === true && !NAMES_OF_STORES.test(bucket)) {
    report.warnings.push(
      `${setting}: its host begins with "${bucket}" as BucketName does; unless the server itself is called so, write the address without it`,
    );
  }
}

/** @returns the host behind "bucket."; AWS's interface endpoints begin with "bucket." themselves */
function restOfHost(host: string, bucket: string): string | undefined {
  if (host.startsWith('bucket.vpce-')) return undefined;
  const start = `${bucket.toLowerCase()}.`;
  return host.startsWith(start) ? host.slice(start.length) : undefined;
}

/** Buckets are often named after their kind of server. */
const NAMES_OF_STORES =
  /^(s3|minio|ceph|rgw|garage|seaweedfs|storage|objects?|objectstore|objectstorage)$/;
/** Hosts of clouds, to which a bucket can be prepended. Some begin with a region, and a bucket may have a region's name. */
const HOSTS_OF_CLOUDS = [
  /^s3[.-].*amazonaws\.com(\.cn)?$/,
  /^(bucket\.)?vpce-.*\.amazonaws\.com(\.cn)?$/,
  /^(commondata)?storage\.googleapis\.com$/,
  /^[^.]+\.(digitaloceanspaces|linodeobjects|vultrobjects|your-objectstorage)\.com$/,
  /^[^.]+(\.[^.]+)?\.r2\.cloudflarestorage\.com$/,
  /^(oss|cos|obs)[.-].*\.(aliyuncs|myqcloud|myhuaweicloud)\.com$/,
];

/** True if only a bucket can precede this host. */
function isHostOfStore(rest: string, bucket: string): boolean {
  if (HOSTS_OF_CLOUDS.some((host) => host.test(rest))) return true;
  // "minio.s3.hospital.example" may be a server called minio.
  return /^(s3|minio|ceph|rgw|garage|seaweedfs)[.-]/.test(rest) && !NAMES_OF_STORES.test(bucket);
}

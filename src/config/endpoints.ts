// SPDX-License-Identifier: GPL-3.0-or-later
// Which server the settings and the environment name, and whether it is wise to send patient data there by it.

import { firstOf, type Variables } from './environment.ts';
import type { Report } from './problems.ts';
import type { S3Settings } from './settings.ts';
import { hasPath, isAddressOrLocalhost, isLoopback, parseS3Endpoint } from './urls.ts';

type S3Endpoint = Pick<S3Settings, 'endpoint' | 'endpointSetting'>;

/** @param value the settings of the section */
export function readS3Address(
  section: string,
  value: {
    readonly BucketName: string;
    readonly Endpoint?: string | undefined;
    readonly VirtualAddressing: boolean;
  },
  variables: Variables,
  report: Report,
): S3Endpoint & Pick<S3Settings, 'virtualAddressing'> {
  const found = findEndpoint(section, value.Endpoint, variables, report);
  const { endpoint, endpointSetting } = found;
  const virtualAddressing = value.VirtualAddressing && canBePartOfHost(value.BucketName, endpoint);
  refuseBucketInEndpoint(found, value.BucketName, report);
  warnOfEndpoint(endpointSetting, endpoint, report);
  warnOfVirtualHost(section, endpoint, virtualAddressing, report);
  return { endpoint, endpointSetting, virtualAddressing };
}

/** The SDK's own order of names. A profile may hold an address, too; that one only the SDK sees. */
const ENDPOINT_VARIABLES = ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'];

function findEndpoint(
  section: string,
  endpoint: string | undefined,
  variables: Variables,
  report: Report,
): S3Endpoint {
  const isIgnored = /^true$/i.test(variables['AWS_IGNORE_CONFIGURED_ENDPOINT_URLS'] ?? '');
  const variable = isIgnored ? undefined : firstOf(ENDPOINT_VARIABLES, variables);
  if (endpoint !== undefined || variable === undefined) {
    return { endpoint, endpointSetting: `${section}.Endpoint` };
  }
  const { name, value } = variable;
  const result = parseS3Endpoint(value);
  if ('url' in result) return { endpoint: result.url, endpointSetting: name };
  report.problems.push(`${name}: ${result.problem}`);
  return { endpoint: undefined, endpointSetting: name };
}

/** Servers would take it for the first folder of every object. */
function refuseBucketInEndpoint(
  { endpoint, endpointSetting }: S3Endpoint,
  bucketName: string,
  report: Report,
) {
  if (endpoint === undefined) return;
  if (new URL(endpoint).pathname.split('/').at(-1) === bucketName) {
    report.problems.push(
      `${endpointSetting}: must not hold the bucket, which BucketName names; write the server's address without it`,
    );
  }
}

/** @param setting that holds the address */
export function warnOfEndpoint(setting: string, endpoint: string | undefined, report: Report) {
  if (endpoint !== undefined && /^http:/i.test(endpoint) && !isLoopback(endpoint)) {
    report.warnings.push(
      `${setting}: without TLS everything, patient data included, crosses the network in the clear; write "https://…"`,
    );
  }
}

/** "minio" in a compose file is no domain: nobody answers for "bucket.minio". */
function warnOfVirtualHost(
  section: string,
  endpoint: string | undefined,
  isVirtual: boolean,
  report: Report,
) {
  if (!isVirtual || endpoint === undefined || new URL(endpoint).hostname.includes('.')) return;
  report.warnings.push(
    `${section}.VirtualAddressing: the bucket's name becomes part of the host's, which has no domain; unless that is set up in DNS, write false`,
  );
}

/** @returns whether a certificate for *.host and DNS allow bucket.host; the AWS SDK has the same rule
 *  (isVirtualHostableS3Bucket in its endpoint rules) */
function canBePartOfHost(bucket: string, endpoint: string | undefined): boolean {
  if (endpoint !== undefined && (isAddressOrLocalhost(endpoint) || hasPath(endpoint))) return false;
  // The SDK takes the host of an access point from its ARN.
  if (bucket.startsWith('arn:')) return true;
  const isTls = endpoint === undefined || endpoint.startsWith('https://');
  const label = isTls ? /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/ : /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
  return label.test(bucket);
}

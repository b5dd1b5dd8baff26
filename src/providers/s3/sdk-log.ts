// SPDX-License-Identifier: GPL-3.0-or-later
// EnableAwsSdkLogs: one line per operation, of fields that are known to be harmless. The SDK's own records hold inputs, outputs and error
// objects with whole requests in them, so they are never printed as they are.

import { asRecord } from '../../http/words.ts';
import { formatFields, type Logger } from '../../log.ts';
import type { S3Settings } from './settings.ts';

/** The SDK's interface Logger. */
export type SdkLogger = Readonly<
  Record<'trace' | 'debug' | 'info' | 'warn' | 'error', (record: unknown) => void>
>;

const drop = () => undefined;

const noLog: SdkLogger = { trace: drop, debug: drop, info: drop, warn: drop, error: drop };

/** @param isFailureExpected true for the check at start, which provokes refusals. They are no warnings */
export function createSdkLogger(
  { enableSdkLogs }: S3Settings,
  log: Logger,
  isFailureExpected = false,
): SdkLogger {
  if (!enableSdkLogs) return noLog;
  const write = (level: string, print: (line: string) => void) => (record: unknown) => {
    const line = typeof record === 'string' ? record : describeRecord(asRecord(record));
    print(`AWS SDK ${level}: ${line}`);
  };
  const info = (line: string) => log.info(line);
  // What a failure means for Orthanc is said by the operation's own line.
  const warning = isFailureExpected ? info : (line: string) => log.warning(line);
  return {
    trace: drop,
    // Some thirty lines per client about profiles and variables that are not there.
    debug: drop,
    info: write('info', info),
    warn: write('warn', warning),
    error: write('error', warning),
  };
}

function describeRecord(record: Readonly<Record<string, unknown>>): string {
  const input = asRecord(record['input']);
  const metadata = asRecord(record['metadata']);
  const error = asRecord(record['error']);
  return formatFields({
    command: simple(record['commandName']),
    bucket: simple(input['Bucket']),
    key: simple(input['Key']),
    bytes: simple(input['ContentLength']),
    part: simple(input['PartNumber']),
    status: simple(metadata['httpStatusCode']),
    attempts: simple(metadata['attempts']),
    delayMs: simple(metadata['totalRetryDelay']),
    requestId: simple(metadata['requestId']),
    error: simple(error['name']),
    code: simple(error['code']),
  });
}

function simple(value: unknown): string | number | undefined {
  return typeof value === 'string' || typeof value === 'number' ? value : undefined;
}

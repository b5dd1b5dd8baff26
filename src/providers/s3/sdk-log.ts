// SPDX-License-Identifier: GPL-3.0-or-later
// EnableAwsSdkLogs: one line per command, built from fields that are known to be harmless. The SDK's own records hold inputs,
// outputs and error objects with whole requests in them, so they are never printed as they come.

import { asRecord } from '../../http/words.ts';
import type { Logger } from '../../log.ts';
import type { S3Settings } from './settings.ts';

/** The SDK's interface Logger. */
export type SdkLogger = Readonly<
  Record<'trace' | 'debug' | 'info' | 'warn' | 'error', (record: unknown) => void>
>;

const drop = () => undefined;

const silent: SdkLogger = { trace: drop, debug: drop, info: drop, warn: drop, error: drop };

/** @param isFailureExpected at start, where the check has itself refused: what fails is then no warning */
export function createSdkLogger(
  { enableSdkLogs }: S3Settings,
  log: Logger,
  isFailureExpected = false,
): SdkLogger {
  if (!enableSdkLogs) return silent;
  const write = (level: string, print: (line: string) => void) => (record: unknown) => {
    const line = typeof record === 'string' ? record : describeRecord(asRecord(record));
    print(`AWS SDK ${level}: ${line}`);
  };
  const info = (line: string) => log.info(line);
  // What a failed command means for Orthanc, the operation's own line says; also where the next attempt succeeds, it is no error.
  const warning = isFailureExpected ? info : (line: string) => log.warning(line);
  return {
    trace: drop,
    // Which profile files and environment variables it looked for in vain, some thirty lines per client.
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
  const fields: readonly (readonly [string, unknown])[] = [
    ['command', record['commandName']],
    ['bucket', input['Bucket']],
    ['key', input['Key']],
    ['bytes', input['ContentLength']],
    ['part', input['PartNumber']],
    ['status', metadata['httpStatusCode']],
    ['attempts', metadata['attempts']],
    ['delayMs', metadata['totalRetryDelay']],
    ['requestId', metadata['requestId']],
    ['error', error['name']],
    ['code', error['code']],
  ];
  return fields
    .filter(([, value]) => typeof value === 'string' || typeof value === 'number')
    .map(([name, value]) => `${name}=${String(value)}`)
    .join(' ');
}

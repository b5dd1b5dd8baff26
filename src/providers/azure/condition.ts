// SPDX-License-Identifier: GPL-3.0-or-later

import type { BlobRequestConditions } from '@azure/storage-blob';
import type { Headers } from '../../http/transport.ts';

/** Of a write that replaces one version of a blob only, for both ways of sending. */
export function conditionOf(onlyIfVersion: string | undefined): {
  readonly headers: Headers;
  readonly sdk: { readonly conditions?: BlobRequestConditions };
} {
  return onlyIfVersion === undefined
    ? { headers: {}, sdk: {} }
    : { headers: { 'if-match': onlyIfVersion }, sdk: { conditions: { ifMatch: onlyIfVersion } } };
}

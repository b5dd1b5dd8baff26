// SPDX-License-Identifier: GPL-3.0-or-later
// The last errors, each with what it means and what to do.

import { ERROR_CODES } from '../error-codes.ts';
import type { RecentError } from '../plugin/figures.ts';
import type { Status } from '../plugin/status.ts';
import { byId, fill, h } from './dom.ts';
import { formatDateTime } from './format.ts';

const OPERATIONS = {
  create: 'store',
  readWhole: 'read',
  readRange: 'read a part',
  remove: 'remove',
} as const satisfies Record<RecentError['operation'], string>;

export function createErrors(): { show(status: Status): void } {
  let shown = '';
  return {
    show({ recentErrors }) {
      const drawn = JSON.stringify(recentErrors);
      if (drawn === shown) return;
      shown = drawn;
      byId('no-errors').hidden = recentErrors.length > 0;
      fill(byId('errors'), ...recentErrors.map(draw));
    },
  };
}

function draw({ time, operation, uuid, code, message }: RecentError): HTMLElement {
  const { meaning, advice } = ERROR_CODES[code];
  return h(
    'li',
    {},
    h(
      'p',
      {},
      h('span', { class: 'badge bad' }, code),
      ` ${OPERATIONS[operation]} `,
      h('time', { class: 'quiet', datetime: time }, formatDateTime(time)),
    ),
    h('p', { class: 'meaning' }, `${meaning} ${advice}`),
    h('p', { class: 'said' }, message),
    h('p', { class: 'said' }, 'Attachment ', h('code', {}, uuid)),
  );
}

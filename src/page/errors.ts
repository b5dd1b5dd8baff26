// SPDX-License-Identifier: GPL-3.0-or-later
// The last errors, each with what it means and what to do.

import { explainCode } from '../error-codes.ts';
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

/** Of one code; the others are folded away. */
const SHOWN = 2;

export function createErrors(): { show(status: Status): void } {
  let shown = '';
  return {
    show({ recentErrors }) {
      const drawn = JSON.stringify(recentErrors);
      if (drawn === shown) return;
      shown = drawn;
      byId('no-errors').hidden = recentErrors.length > 0;
      fill(byId('errors'), ...groupByCode(recentErrors).map(draw));
    },
  };
}

/** The newest code first. */
function groupByCode(errors: readonly RecentError[]): readonly (readonly RecentError[])[] {
  const groups = new Map<string, RecentError[]>();
  for (const error of errors) {
    const group = groups.get(error.code) ?? [];
    group.push(error);
    groups.set(error.code, group);
  }
  return [...groups.values()];
}

function draw(group: readonly RecentError[]): HTMLElement {
  const code = group[0]?.code ?? 'INTERNAL';
  const { meaning, advice } = explainCode(code);
  return h(
    'li',
    {},
    h('p', {}, h('span', { class: 'badge bad' }, code), ` ${meaning}`),
    h('p', { class: 'meaning' }, advice),
    h('ul', {}, ...group.slice(0, SHOWN).map(drawOne)),
    group.length > SHOWN &&
      h(
        'details',
        {},
        h('summary', { class: 'said' }, `${group.length - SHOWN} more`),
        h('ul', {}, ...group.slice(SHOWN).map(drawOne)),
      ),
  );
}

function drawOne({ time, operation, uuid, message }: RecentError): HTMLElement {
  return h(
    'li',
    { class: 'said' },
    h('time', { datetime: time }, formatDateTime(time)),
    `, ${OPERATIONS[operation]} `,
    h('code', {}, uuid),
    `: ${message}`,
  );
}

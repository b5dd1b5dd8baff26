// SPDX-License-Identifier: GPL-3.0-or-later
// Where patient data goes, how it is encrypted, and by which keys.

import type { Status } from '../plugin/status.ts';
import { byId, type Child, fill, h } from './dom.ts';
import { formatBytes, formatCount, formatDuration, formatTime, plural } from './format.ts';
import { nameOfStore } from './health.ts';

const PROVIDER_NAMES: Readonly<Record<string, string>> = {
  s3: 'AWS S3, or a server that speaks S3',
  azure: 'Azure Blob Storage',
  google: 'Google Cloud Storage',
};

export function createPlaces(): { show(status: Status): void } {
  let shown = '';
  return {
    show(status) {
      const [way, facts] = [wayOf(status), factsOf(status)];
      // Drawn anew, a selection of the user's would be lost.
      const drawn = JSON.stringify([
        way,
        facts.map(([name, ...texts]) => [name, texts.map(textOf)]),
      ]);
      if (drawn === shown) return;
      shown = drawn;
      fill(
        byId('way'),
        ...way.map(([what, name]) =>
          h('li', {}, h('span', { class: 'quiet' }, what), h('b', {}, name)),
        ),
      );
      fill(
        byId('facts'),
        ...facts.map(([name, ...children]) =>
          h('div', {}, h('dt', {}, name), h('dd', {}, ...children)),
        ),
      );
    },
  };
}

function textOf(child: Child): string {
  return typeof child === 'object' ? (child.textContent ?? '') : String(child);
}

type Step = readonly [what: string, name: string];

/** Of a new file. */
function wayOf(status: Status): readonly Step[] {
  const { hybrid, encryption, localCache, provider, bucket } = status;
  if (hybrid?.writeTo === 'file-system') {
    return [
      ['A new file', 'Orthanc'],
      ['is stored in the folder', hybrid.folder],
    ];
  }
  const sealed: readonly Step[] =
    encryption === null
      ? []
      : [['is encrypted here', `${encryption.format}, key ${encryption.masterKeyId}`]];
  const cached: readonly Step[] =
    localCache?.writeBack === true ? [['is safe on this disk', localCache.directory]] : [];
  return [
    ['A new file', 'Orthanc'],
    ...sealed,
    ...cached,
    [`is stored in the ${nameOfStore(provider)}`, bucket],
  ];
}

type Fact = readonly [name: string, ...children: Child[]];

function factsOf(status: Status): readonly Fact[] {
  const { provider, bucket, place, rootPath, structure, hybrid } = status;
  return [
    ['Store', PROVIDER_NAMES[provider] ?? provider],
    [provider === 'azure' ? 'Container' : 'Bucket', code(bucket)],
    ...(place === '' ? [] : ([[isUrl(place) ? 'Address' : 'Region', code(place)]] as const)),
    ['Folder in it', rootPath === '' ? 'none: at the top' : code(rootPath)],
    [
      'Names',
      structure === 'flat'
        ? "the attachment's UUID, side by side"
        : "the attachment's UUID, in two levels of folders, as on Orthanc's disk",
    ],
    ...encryptionFacts(status),
    ...(hybrid === null
      ? []
      : ([
          [
            'Also read from',
            hybrid.writeTo === 'file-system' ? `the ${nameOfStore(provider)}` : code(hybrid.folder),
            ', until it is moved',
          ],
        ] as const)),
    ...cacheFacts(status),
    ...removalFacts(status),
  ];
}

function encryptionFacts({ encryption, keyIds, hybrid, localCache }: Status): readonly Fact[] {
  const others = keyIds.filter((id) => id !== encryption?.masterKeyId);
  const remark =
    hybrid === null
      ? ''
      : ` In the folder ${hybrid.folder}, files are not encrypted by the plugin.`;
  const facts: Fact[] = [
    encryption === null
      ? [
          'Encryption',
          `none by the plugin: who can read the bucket${localCache === null ? '' : ", or this machine's disk,"} can read the files.`,
        ]
      : [
          'Encryption',
          `before files leave this process: format ${encryption.format}, master key ${encryption.masterKeyId}.${remark}`,
        ],
  ];
  if (others.length > 0) facts.push(['Keys for older files', others.join(', ')]);
  return facts;
}

function cacheFacts({ localCache }: Status): readonly Fact[] {
  if (localCache === null) return [];
  const { directory, cached, pending, maxBytes, writeBack } = localCache;
  const used = cached.bytes + pending.bytes;
  const facts: Fact[] = [
    ['Local disk', code(directory), writeBack ? ', which takes new files first' : ', for reading'],
    [
      'Used of it',
      h('meter', { min: 0, max: maxBytes, value: used, 'aria-label': 'Used of the local disk' }),
      `${formatBytes(used)} of ${formatBytes(maxBytes)}, ${plural(cached.count + pending.count, 'file')}`,
    ],
  ];
  if (writeBack) {
    facts.push([
      'Not in the bucket yet',
      pending.count === 0
        ? 'nothing'
        : `${plural(pending.count, 'file')}, ${formatBytes(pending.bytes)}, the oldest for ${formatDuration(pending.oldestSeconds)}. Other Orthancs on this bucket do not see them.`,
    ]);
  }
  for (const { key, reason } of localCache.refusedObjects) {
    facts.push(['Cannot be uploaded', code(key), `: ${reason}`]);
  }
  return facts;
}

function removalFacts({ removals }: Status): readonly Fact[] {
  if (removals === null) return [['Removals', 'at once']];
  const facts: Fact[] = [
    [
      'Removals',
      `in the background: ${formatCount(removals.pending)} wait, ${formatCount(removals.carriedOut)} done`,
    ],
  ];
  for (const { key, message } of removals.refusedObjects) {
    facts.push(['Cannot be removed', code(key), `: ${message}`]);
  }
  return facts;
}

function code(text: string): HTMLElement {
  return h('code', {}, text);
}

function isUrl(place: string): boolean {
  return place.includes('://');
}

/** For the head and the foot of the page. */
export function describePlugin({ version, node, lanes, uptimeSeconds, time }: Status): {
  readonly short: string;
  readonly long: string;
} {
  const since = Date.parse(time) / 1000 - uptimeSeconds;
  const up = `up ${formatDuration(uptimeSeconds)}`;
  const loops = lanes === 1 ? '1 event loop' : `${lanes} event loops`;
  return {
    short: `plugin ${version}, ${up}`,
    long: `Plugin ${version}, Node ${node.replace(/^v/, '')}, ${loops}, started at ${formatTime(since, true)}. Figures since then are in /object-storage/status and /tools/metrics-prometheus.`,
  };
}

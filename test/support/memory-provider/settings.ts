// SPDX-License-Identifier: GPL-3.0-or-later
// The section MemoryStorage: the smallest provider that there can be. docs/development.md describes it.

import { optionalText, requiredText } from '../../../src/config/fields.ts';
import type { ProviderSection, ValuesOf } from '../../../src/config/sections.ts';
import type { NetworkSettings } from '../../../src/config/settings.ts';

export interface MemorySettings extends NetworkSettings {
  readonly shelf: string;
}

export const memorySection: ProviderSection<MemorySettings, typeof fields> = {
  kind: 'memory',
  section: 'MemoryStorage',
  fields,
  read,
  obeyed: { always: /^MEMORY_SPEED$/, credentials: /^MEMORY_KEY$/, literal: /^MEMORY_KEY$/ },
};

function fields() {
  return {
    Shelf: requiredText('The shelf that objects lie on.', 'its name'),
    Label: optionalText('What is written on it.'),
  };
}

function read({ Shelf: shelf, Label }: ValuesOf<typeof fields>) {
  return {
    settings: { shelf },
    bucket: shelf,
    place: Label ?? '',
    findsCredentials: true,
  };
}

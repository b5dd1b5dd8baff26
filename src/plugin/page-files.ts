// SPDX-License-Identifier: GPL-3.0-or-later

/** What a browser gets, by its name. */
export type PageFiles = Readonly<Record<string, string>>;

/** scripts/bundle.mjs puts them here. Only page.ts imports this module, and only when somebody asks: its 80 kB are a part of the bundle
 *  that V8 need not read before. */
export const pageFiles: PageFiles = {};

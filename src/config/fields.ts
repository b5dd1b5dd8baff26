// SPDX-License-Identifier: GPL-3.0-or-later
// One builder per kind of setting. They accept values as Docker's environment variables give them: a bucket "2026" is a number there, and
// true is "true". They word all errors, because zod/mini has no texts.

import * as z from 'zod/mini';
import { describeSecret, Secret } from '../text/secret.ts';
import { suggest } from './suggest.ts';
import type { UrlResult } from './urls.ts';

export type RawSection = Readonly<Record<string, unknown>>;

// As in the C++ plugins.
export const BYTES_PER_MB = 1024 * 1024;

export interface SettingDoc {
  readonly description: string;
  readonly required?: boolean;
  /** As in JSON. */
  readonly default?: unknown;
  /** Earlier names of the key, which are read with a warning. */
  readonly aliases?: readonly string[];
}

export const settingDocs = z.registry<SettingDoc>();

/** Must be the outermost call, because zod's wrappers make new schemas. */
export function documented<S extends z.core.$ZodType>(schema: S, doc: SettingDoc): S {
  settingDocs.add(schema, doc);
  return schema;
}

/** @returns what is wrong with the value, without repeating a secret; undefined if it is valid */
export type Rule = (value: string) => string | undefined;

/** @param whatToWrite for the message "is missing; write …" */
export function requiredText(description: string, whatToWrite: string, rule?: Rule) {
  const schema = textSchema(withoutSecret(rule), whatToWrite);
  return documented(schema, { description, required: true });
}

/** "" counts as absent. */
export function optionalText(description: string, rule?: Rule) {
  return optionalAnyText(description, withoutSecret(rule));
}

/** The text may look like a secret, so messages must not repeat it. */
export function optionalAnyText(description: string, rule?: Rule) {
  return optional(description, textSchema(rule));
}

function optional<S extends z.core.$ZodType>(description: string, schema: S) {
  const given = z.pipe(
    z.transform((value: unknown) => (isBlank(value) ? undefined : value)),
    z.optional(schema),
  );
  return documented(z.optional(given), { description });
}

/** For texts that may appear in logs later. */
export function withoutSecret(rule?: Rule): Rule {
  return (value) => {
    const kind = describeSecret(value);
    return kind === undefined
      ? rule?.(value)
      : `holds ${kind}, which does not belong there and is not repeated here`;
  };
}

export function optionalSecret(description: string, rule?: Rule) {
  const secret = z.transform((text: string) => new Secret(text));
  return optional(description, z.pipe(textSchema(rule), secret));
}

export function optionalUrl(description: string, parse: (text: string) => UrlResult) {
  const url = z.transform((text: string, context): string => {
    const result = parse(text);
    if ('url' in result) return result.url;
    context.issues.push(ruleIssue(result.problem));
    return z.NEVER;
  });
  return optional(description, z.pipe(textSchema(withoutSecret()), url));
}

/** For buckets of S3 and Google. */
export function bucketRule(value: string): string | undefined {
  const hint = "write the bucket's name alone, a folder belongs in RootPath";
  if (/^[a-z0-9]+:\/\//i.test(value)) return `must not be a URL: ${hint}`;
  if (/\s/.test(value)) return 'must not hold white space';
  // ARNs of access points hold slashes.
  if (value.includes('/') && !value.startsWith('arn:')) return `must not hold "/": ${hint}`;
  return undefined;
}

export function flag(description: string, fallback: boolean) {
  return documented(z._default(flagSchema(), fallback), { description, default: fallback });
}

export function optionalFlag(description: string) {
  return documented(z.optional(flagSchema()), { description });
}

export function wholeNumber(
  description: string,
  range: {
    readonly min: number;
    readonly max: number;
    readonly unit?: string;
    readonly default: number;
    readonly aliases?: readonly string[];
  },
) {
  const { min, max, unit, ...doc } = range;
  const schema = z._default(wholeNumberSchema(min, max, unit), doc.default);
  return documented(schema, { description, ...doc });
}

export function wholeNumberSchema(min: number, max: number, unit?: string) {
  const expected = `must be a whole number from ${min} to ${max}${unit === undefined ? '' : ` (${unit})`}`;
  const error = ({ input }: { readonly input?: unknown }) =>
    expected + butNot(input, typeof input === 'number' ? String(max).length : undefined);
  return z.pipe(
    z.transform(wholeNumberFromJson),
    z.int({ error }).check(z.minimum(min, { error }), z.maximum(max, { error })),
  );
}

export function choice<const T extends readonly [string, ...string[]]>(
  description: string,
  values: T,
  fallback: T[number],
) {
  const schema = z.pipe(
    z.transform((value: unknown) => (isBlank(value) ? fallback : value)),
    choiceSchema(values),
  );
  return documented(z._default(schema, fallback), { description, default: fallback });
}

export function optionalChoice<const T extends readonly [string, ...string[]]>(
  description: string,
  values: T,
) {
  return optional(description, choiceSchema(values));
}

export function textSchema(rule: Rule = () => undefined, whatToWrite?: string) {
  const check = checkOf((text) =>
    text === '' ? `must not be empty${hint(whatToWrite)}` : rule(text),
  );
  const error = ({ input }: { readonly input?: unknown }) =>
    input === undefined ? `is missing${hint(whatToWrite)}` : wrongText(input);
  return z.pipe(z.transform(textFromJson), z.string({ error }).check(z.trim(), check));
}

export function exactTextSchema(rule: Rule) {
  const error = ({ input }: { readonly input?: unknown }) => wrongText(input);
  return z.pipe(z.transform(textFromJson), z.string({ error }).check(checkOf(rule)));
}

export function checkOf(rule: Rule): z.core.CheckFn<string> {
  return ({ value, issues }) => {
    const problem = rule(value);
    if (problem !== undefined) issues.push(ruleIssue(problem));
  };
}

// No provider accepts passwords or keys as short as this.
const SHOWN_CHARACTERS = 4;

/** ", not …" for the end of a message. A longer value may be a secret, so it is not repeated. */
export function butNot(value: unknown, shownCharacters = 0): string {
  if (typeof value === 'boolean') return `, not ${value}`;
  if (typeof value !== 'string' && typeof value !== 'number') {
    return `, not ${value === undefined ? 'nothing' : kindOf(value)}`;
  }
  if (String(value).length > Math.max(SHOWN_CHARACTERS, shownCharacters)) return '';
  return `, not ${JSON.stringify(value)}`;
}

// Without `input`, since the value may be a secret and zod keeps its issues.
export function ruleIssue(message: string) {
  return { code: 'custom' as const, input: undefined, message };
}

function hint(whatToWrite: string | undefined): string {
  return whatToWrite === undefined ? '' : `; write ${whatToWrite}`;
}

function wrongText(input: unknown): string {
  // JSON.parse has already rounded it.
  if (typeof input === 'number') return 'is a number that is not kept exactly: put it in quotes';
  return `must be text in quotes${butNot(input)}`;
}

function kindOf(input: unknown): string {
  if (input === null) return 'null';
  return Array.isArray(input) ? 'a list' : 'an object';
}

export function isObject(value: unknown): value is RawSection {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Unset variables in compose files arrive as "". */
export function isGiven(value: unknown): boolean {
  return value !== undefined && !isBlank(value);
}

function textFromJson(value: unknown): unknown {
  return Number.isSafeInteger(value) ? String(value) : value;
}

function isBlank(value: unknown): boolean {
  return typeof value === 'string' && value.trim() === '';
}

function wholeNumberFromJson(value: unknown): unknown {
  return typeof value === 'string' && /^\s*[+-]?\d+\s*$/.test(value) ? Number(value) : value;
}

const FLAGS: Readonly<Record<string, boolean>> = { true: true, false: false, 1: true, 0: false };

function flagSchema() {
  return z.pipe(
    z.transform((value: unknown) => {
      if (typeof value !== 'string' && typeof value !== 'number') return value;
      const word = String(value).trim().toLowerCase();
      return Object.hasOwn(FLAGS, word) ? FLAGS[word] : value;
    }),
    z.boolean({ error: (issue) => `must be true or false${butNot(issue.input)}` }),
  );
}

function choiceSchema<const T extends readonly [string, ...string[]]>(values: T) {
  return z.pipe(
    z.transform((value: unknown) => (typeof value === 'string' ? value.trim() : value)),
    z.enum(values, { error: (issue) => wrongChoice(issue.input, values) }),
  );
}

/** Repeats the value only if it is close to a valid one. */
export function wrongChoice(input: unknown, values: readonly string[]): string {
  const expected = `must be one of ${values.map((value) => `"${value}"`).join(', ')}`;
  const nearest = typeof input === 'string' ? suggest(input, values) : undefined;
  return nearest === undefined
    ? expected + butNot(input)
    : `${expected}${butNot(input, Number.POSITIVE_INFINITY)}; did you mean "${nearest}"?`;
}

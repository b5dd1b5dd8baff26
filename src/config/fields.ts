// SPDX-License-Identifier: GPL-3.0-or-later
// One builder per kind of setting. Each takes what a user may have written (Docker's variables arrive as JSON wherever they
// parse: a bucket "2026" as a number, true as "true"), and words its own error: the schemas use zod/mini, which has no texts.

import * as z from 'zod/mini';
import { Secret } from './secret.ts';
import { suggest } from './suggest.ts';

/** What docs/configuration.md and the JSON Schema say of a setting, beside what its schema says. */
export interface SettingDoc {
  readonly description: string;
  readonly required?: boolean;
  /** As a user writes it; absent: none. */
  readonly default?: unknown;
  /** Earlier names of the key, still read, with a warning. */
  readonly aliases?: readonly string[];
}

export const settingDocs = z.registry<SettingDoc>();

/** Attaches the documentation. Last in the chain: zod's wrappers make new schemas. */
export function documented<S extends z.core.$ZodType>(schema: S, doc: SettingDoc): S {
  settingDocs.add(schema, doc);
  return schema;
}

/** Tells by what rule a well-typed value is wrong; undefined: it is fine. Must not repeat a secret. */
export type Rule = (value: string) => string | undefined;

/** @param whatToWrite ends the message of a missing setting: "is missing; write …" */
export function requiredText(description: string, whatToWrite: string, rule?: Rule) {
  return documented(textSchema(rule, whatToWrite), { description, required: true });
}

/** "" counts as absent: that is what an unset variable in a compose file leaves behind. */
export function optionalText(description: string, rule?: Rule) {
  const schema = z.pipe(z.transform(blankToUndefined), z.optional(textSchema(rule)));
  return documented(z.optional(schema), { description });
}

export function optionalSecret(description: string, rule?: Rule) {
  const text = z.pipe(z.transform(blankToUndefined), z.optional(textSchema(rule)));
  const secret = z.transform((value: string | undefined) =>
    value === undefined ? undefined : new Secret(value),
  );
  return documented(z.optional(z.pipe(text, secret)), { description });
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
  const { min, max, unit, aliases = [] } = range;
  const schema = z._default(wholeNumberSchema(min, max, unit), range.default);
  return documented(schema, {
    description,
    default: range.default,
    aliases,
  });
}

export function wholeNumberSchema(min: number, max: number, unit?: string) {
  const expected = `must be a whole number from ${min} to ${max}${unit === undefined ? '' : ` (${unit})`}`;
  const error = (issue: { readonly input?: unknown }) => `${expected}, not ${show(issue.input)}`;
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
  const schema = z.pipe(z.transform(blankToUndefined), z.optional(choiceSchema(values)));
  return documented(z.optional(schema), { description });
}

/** Text that is trimmed, is not empty and keeps the rule. */
export function textSchema(rule?: Rule, whatToWrite?: string) {
  const checks: z.core.CheckFn<string>[] = [
    (payload) => {
      const problem =
        payload.value === '' ? `must not be empty${hint(whatToWrite)}` : rule?.(payload.value);
      if (problem !== undefined) payload.issues.push(ruleIssue(problem));
    },
  ];
  return z.pipe(
    z.transform(textFromJson),
    z
      .string({
        error: ({ input }) =>
          input === undefined ? `is missing${hint(whatToWrite)}` : wrongText(input),
      })
      .check(z.trim(), ...checks),
  );
}

/** Text that is taken as it is, white space and all. */
export function exactTextSchema(rule: Rule) {
  return z.pipe(
    z.transform(textFromJson),
    z
      .string({ error: (issue) => wrongText(issue.input) })
      .check((payload: z.core.ParsePayload<string>) => {
        const problem = rule(payload.value);
        if (problem !== undefined) payload.issues.push(ruleIssue(problem));
      }),
  );
}

/** A value that is safe to repeat in a message, or just its kind: only settings that hold no secret may use it. */
export function show(value: unknown): string {
  if (value === null || typeof value === 'number' || typeof value === 'boolean') {
    return String(value);
  }
  if (typeof value === 'string') {
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  }
  if (value === undefined) return 'nothing';
  return Array.isArray(value) ? 'a list' : 'an object';
}

// `input` stays empty on purpose: issues outlive this module's control, and the value may be a secret.
export function ruleIssue(message: string) {
  return { code: 'custom' as const, input: undefined, message };
}

function hint(whatToWrite: string | undefined): string {
  return whatToWrite === undefined ? '' : `; write ${whatToWrite}`;
}

function wrongText(input: unknown): string {
  // JSON.parse has rounded it already, so that the text behind it is lost.
  if (typeof input === 'number') return 'is a number that is not kept exactly: put it in quotes';
  return `must be text in quotes, not ${typeof input === 'boolean' ? show(input) : kindOf(input)}`;
}

function kindOf(input: unknown): string {
  if (input === null) return 'null';
  return Array.isArray(input) ? 'a list' : 'an object';
}

function textFromJson(value: unknown): unknown {
  return Number.isSafeInteger(value) ? String(value) : value;
}

export function blankToUndefined(value: unknown): unknown {
  return isBlank(value) ? undefined : value;
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
    z.boolean({ error: (issue) => `must be true or false, not ${show(issue.input)}` }),
  );
}

function choiceSchema<const T extends readonly [string, ...string[]]>(values: T) {
  return z.pipe(
    z.transform((value: unknown) => (typeof value === 'string' ? value.trim() : value)),
    z.enum(values, { error: (issue) => wrongChoice(issue.input, values) }),
  );
}

/** Says what may be written, and which of it was probably meant. */
export function wrongChoice(input: unknown, values: readonly string[]): string {
  const nearest = typeof input === 'string' ? suggest(input, values) : undefined;
  const guess = nearest === undefined ? '' : `; did you mean "${nearest}"?`;
  return `must be one of ${values.map((value) => `"${value}"`).join(', ')}, not ${show(input)}${guess}`;
}

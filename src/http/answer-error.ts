// SPDX-License-Identifier: GPL-3.0-or-later

import { describeRefusal } from './foreign-answers.ts';
import { readLocation } from './network-errors.ts';
import type { Answer, Headers } from './transport.ts';
import { oneLine, textOf } from './words.ts';

/** What a server says in its own protocol; each is undefined where it says nothing of the kind. */
export interface Refusal {
  /** Its word for the reason, such as "NoSuchKey". */
  readonly code?: string | undefined;
  readonly words?: string | undefined;
  /** The id by which the provider's support finds the request. */
  readonly requestId?: string | undefined;
}

/** An answer that is no success. All requests report it so, an SDK's too. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError';
  readonly status: number;
  readonly code: string | undefined;
  readonly requestId: string | undefined;
  /** Status, code and words, for the end of a message. */
  readonly said: string;
  /** Private, so that no log shows it with the error: it may quote what was signed. */
  readonly #answer: Answer;

  /** @param refusal as the provider reads it from the answer */
  constructor(answer: Answer, { code, words, requestId }: Refusal) {
    super(words ?? oneLine(textOf(answer.body)));
    this.status = answer.status;
    this.code = code;
    this.requestId = requestId;
    this.said =
      code === undefined && words === undefined
        ? describeRefusal(answer)
        : `status ${answer.status}${code === undefined ? '' : `, ${code}`}${words ? `: ${words}` : ''}`;
    this.#answer = answer;
  }

  get answer(): Answer {
    return this.#answer;
  }

  get headers(): Headers {
    return this.#answer.headers;
  }

  /** What the server asks to wait for, which it says in seconds or as a date. */
  get retryAfterMs(): number | undefined {
    const { 'retry-after': hint } = this.headers;
    if (hint === undefined) return undefined;
    const seconds = Number(hint);
    const waitMs = Number.isNaN(seconds) ? Date.parse(hint) - Date.now() : seconds * 1_000;
    return Number.isNaN(waitMs) ? undefined : Math.max(0, waitMs);
  }

  /** The server's clock. */
  get serverTime(): Date | undefined {
    const { date } = this.headers;
    return date === undefined ? undefined : new Date(date);
  }

  /** Where a redirect leads, without secrets. */
  get location(): string | undefined {
    return readLocation(this.headers['location']);
  }
}

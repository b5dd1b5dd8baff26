// SPDX-License-Identifier: GPL-3.0-or-later
// A store at a scripted server, anew for each test.

import { afterEach, beforeEach, expect } from 'vitest';
import type { Logger } from '../../src/log.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { makeBody, makeBytes, makeSink, never, type TestSink } from '../support/bodies.ts';
import { expectDocumented } from '../support/messages.ts';
import {
  type AnswerFromMemory,
  type ScriptedServer,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { makeLogger, type TestLogger } from '../support/settings.ts';

/** What most tests store; `put` does, unless told otherwise. */
export const SMALL = makeBytes(1_000);

export interface BenchOptions<Changes, Dependencies> {
  readonly answer: AnswerFromMemory;
  create(
    server: ScriptedServer,
    changes: Changes | undefined,
    log: Logger,
    deps: Dependencies | undefined,
  ): ObjectStore;
  /** What no log may show. */
  readonly secret: string;
}

export interface Bench<Changes, Dependencies = never> {
  /** That of the present test. */
  readonly server: ScriptedServer;
  readonly log: TestLogger;
  /** Closed after the test. */
  readonly open: (changes?: Changes, deps?: Dependencies) => ObjectStore;
  readonly put: (store: ObjectStore, bytes?: Uint8Array) => Promise<void>;
  readonly get: (
    store: ObjectStore,
    range?: { readonly start: number; readonly end: number },
  ) => Promise<TestSink>;
  /** Of the requests so far. */
  methods(): readonly string[];
}

/** For a block of tests. */
export function useBench<Changes, Dependencies>(
  options: BenchOptions<Changes, Dependencies>,
): Bench<Changes, Dependencies> {
  let server: ScriptedServer | undefined;
  let log = makeLogger();
  afterEach(() => {
    expect(log.lines.join('\n')).not.toContain(options.secret);
    // docs/logs.md has the form of the SDKs' own lines.
    for (const line of log.lines.filter((text) => !/^\w+: (AWS|Azure) SDK/.test(text))) {
      expectDocumented(line);
    }
  });
  // Closed before that: what is logged on the way counts too.
  const closing = useClosing();

  function present(): ScriptedServer {
    if (server === undefined) throw new Error('no test runs');
    return server;
  }

  beforeEach(async () => {
    log = makeLogger();
    server = closing(await startScriptedServer({ answer: options.answer }));
  });

  return {
    get server() {
      return present();
    },
    get log() {
      return log;
    },
    open: (changes, deps) => closing(options.create(present(), changes, log, deps)),
    put: (store, bytes = SMALL) => store.put('key', makeBody(bytes), { signal: never() }),
    async get(store, range) {
      const sink = makeSink();
      await store.get('key', range, sink, { signal: never() });
      return sink;
    },
    methods: () => present().requests.map(({ method }) => method),
  };
}

/** @returns what notes stores and servers to close after the test, the last first */
export function useClosing(): <T extends { close(): Promise<unknown> }>(it: T) => T {
  const opened: { close(): Promise<unknown> }[] = [];
  afterEach(async () => {
    for (const each of opened.splice(0).reverse()) await each.close();
  });
  return (it) => {
    opened.push(it);
    return it;
  };
}

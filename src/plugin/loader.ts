// SPDX-License-Identifier: GPL-3.0-or-later
// The shim runs this first in a new environment. It loads the bundle and calls its `main`. scripts/bundle.mjs puts it in front of the
// bundle's parts.

import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { compileFunction } from 'node:vm';
import { safeLine, safeLines } from '../text/safe-text.ts';
import type { Binding } from './bridge.ts';
import type { main } from './main.ts';

interface Bundle {
  readonly main: typeof main;
}

const binding = Reflect.get(process, '_linkedBinding')('orthanc_object_storage') as Binding;

/** @param joined a line of JSON, [[name, length], …], then the parts. Each part is compiled when it is first required. */
function loadParts(joined: string): Bundle {
  const requireOfNode = createRequire(binding.bundlePath);
  const sources = new Map<string, () => string>();
  let start = joined.indexOf('\n') + 1;
  for (const [name, length] of JSON.parse(joined.slice(0, start)) as [string, number][]) {
    const [from, to] = [start, start + length];
    sources.set(`./${name}`, () => joined.slice(from, to));
    start = to;
  }
  const modules = new Map<string, { exports: unknown }>();

  function requirePart(id: string): unknown {
    const source = sources.get(id);
    if (source === undefined) return requireOfNode(id);
    const loaded = modules.get(id);
    if (loaded !== undefined) return loaded.exports;
    const module = { exports: {} };
    modules.set(id, module);
    const filename = `${binding.bundlePath}/${id.slice(2)}`;
    const parameters = ['exports', 'require', 'module', '__filename', '__dirname'];
    const run = compileFunction(source(), parameters, { filename });
    run(module.exports, requirePart, module, filename, binding.bundlePath);
    return module.exports;
  }

  return requirePart('./plugin.cjs') as Bundle;
}

function loadFile(path: string): Bundle {
  const absolute = resolve(path);
  return createRequire(absolute)(absolute) as Bundle;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? String(error)) : String(error);
}

// Writes to Orthanc's log in place of the standard error, until the bundle installs a listener of its own.
process.on('uncaughtException', (error: unknown) => {
  if (process.listenerCount('uncaughtException') > 1) return;
  binding.ending(safeLine(`uncaught exception: ${describe(error)}`));
  process.exit(1);
});
try {
  const parts: unknown = Reflect.get(globalThis, '__bundleParts');
  Reflect.deleteProperty(globalThis, '__bundleParts');
  const bundle = typeof parts === 'string' ? loadParts(parts) : loadFile(binding.bundlePath);
  bundle.main(binding);
} catch (error) {
  const lines = `The plugin's TypeScript does not load: ${describe(error)}`.split('\n');
  binding.refuse(safeLines(lines));
  // One that replaces another would wait for ever, and requests with it.
  binding.ending(safeLine(lines[0] ?? ''));
  binding.release();
}

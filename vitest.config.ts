// SPDX-License-Identifier: GPL-3.0-or-later

import { defineConfig } from 'vitest/config';

const suite = (name: string, timeoutMs: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
    // One second is soon over where compilers or other tests take the machine.
    expect: { poll: { timeout: 15_000 } },
    // No module keeps state: the SDKs need not be loaded anew for each file.
    isolate: false,
  },
});

export default defineConfig({
  test: {
    // What it says about Node 20 is known, and hides what the tests say.
    env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' },
    projects: [
      // Some try a hundred cases each, and run beside compilers.
      suite('unit', 30_000),
      // Half of the work is that of servers and commands.
      { test: { ...suite('interop', 120_000).test, maxWorkers: 2 } },
      { test: { ...suite('conformance', 120_000).test, maxWorkers: 2 } },
      // These mostly wait, for deadlines and retries, or for Orthanc to start and stop.
      { test: { ...suite('faults', 60_000).test, maxWorkers: 4 } },
      { test: { ...suite('e2e', 300_000).test, maxWorkers: 3 } },
      // Of npm run package:test, which starts it in a network of its own. apt loads what Orthanc needs.
      suite('package', 900_000),
      suite('page', 60_000),
      // npm run image:test, which builds an image first.
      suite('image', 1_800_000),
    ],
  },
});

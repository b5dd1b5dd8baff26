// SPDX-License-Identifier: GPL-3.0-or-later
// undici's index loads fetch, WebSocket and caches as well (120 ms against 34 ms cold, 0.6 MB of bundle), so transport.ts imports the
// parts from their files; undici is pinned to an exact version, and types these only through its index.

declare module 'undici/lib/dispatcher/agent.js' {
  import { Agent } from 'undici';
  export = Agent;
}

declare module 'undici/lib/dispatcher/proxy-agent.js' {
  import { ProxyAgent } from 'undici';
  export = ProxyAgent;
}

declare module 'undici/lib/dispatcher/pool.js' {
  import { Pool } from 'undici';
  export = Pool;
}

declare module 'undici/lib/api/api-connect.js' {
  import { Dispatcher } from 'undici';

  const connect: Dispatcher['connect'];
  export = connect;
}

declare module 'undici/lib/core/connect.js' {
  import { buildConnector } from 'undici';
  export = buildConnector;
}

declare module 'undici/lib/core/symbols.js' {
  export const kParser: unique symbol;
}

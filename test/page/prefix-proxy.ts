// SPDX-License-Identifier: GPL-3.0-or-later
// A reverse proxy that puts Orthanc below a path of its own, and may sign in for its users.

import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface PrefixProxy {
  /** With the prefix. */
  readonly address: string;
  /** undefined: none */
  signInAs(userAndPassword: string | undefined): void;
  close(): Promise<void>;
}

export async function startPrefixProxy(target: string, prefix: string): Promise<PrefixProxy> {
  const { port } = new URL(target);
  let user: string | undefined;
  const server = createServer((incoming, outgoing) => {
    const path = incoming.url ?? '';
    if (!path.startsWith(`${prefix}/`)) {
      outgoing.writeHead(404).end('outside of the prefix');
      return;
    }
    const authorization =
      user === undefined ? {} : { authorization: `Basic ${Buffer.from(user).toString('base64')}` };
    const upstream = request(
      {
        port,
        method: incoming.method,
        path: path.slice(prefix.length),
        headers: { ...incoming.headers, ...authorization },
      },
      (answer) => {
        // A browser would ask its user, and nobody is there.
        const { 'www-authenticate': _, ...headers } = answer.headers;
        outgoing.writeHead(answer.statusCode ?? 500, headers);
        answer.pipe(outgoing);
      },
    );
    upstream.on('error', () => outgoing.destroy());
    incoming.pipe(upstream);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}${prefix}`,
    signInAs(userAndPassword) {
      user = userAndPassword;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

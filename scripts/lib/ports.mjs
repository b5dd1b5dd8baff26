// SPDX-License-Identifier: GPL-3.0-or-later
// TCP ports of this machine.

import { createServer } from 'node:net';

/**
 * Returns a port of 127.0.0.1 that nobody listens on. Another process may take it before you do:
 * who starts a server on it should be ready to try again.
 * @param {number} [preferred] taken if it is free; else the next free one above it
 * @returns {Promise<number>}
 */
export async function freePort(preferred = 0) {
  for (let port = preferred; ; port += 1) {
    const found = await tryListen(port);
    if (found !== undefined) return found;
  }
}

/** @param {number} port 0 lets the system choose @returns {Promise<number | undefined>} */
function tryListen(port) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      if (port !== 0 && ['EADDRINUSE', 'EACCES'].includes(error.code)) resolve(undefined);
      else reject(error);
    });
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const { port: found } = server.address();
      server.close(() => resolve(found));
    });
  });
}

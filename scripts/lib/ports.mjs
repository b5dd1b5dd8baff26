// SPDX-License-Identifier: GPL-3.0-or-later
// TCP ports of this machine.

import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * Servers get ports from here: below those that Linux gives to outgoing connections (from 32,768 on),
 * of which one may come between the choice and the server's start.
 */
const serverPorts = { first: 10_000, last: 32_000 };

/**
 * Returns a port of 127.0.0.1 that nobody listens on. Another process may take it before you do:
 * who starts a server on it should be ready to try again.
 * @param {number} [preferred] taken if it is free; else the next free one above it
 * @returns {Promise<number>}
 */
export async function freePort(preferred = randomInt(serverPorts.first, serverPorts.last)) {
  for (let port = preferred; ; port += 1) {
    if (await isFree(port)) return port;
  }
}

/** @param {number} port @returns {Promise<boolean>} */
function isFree(port) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      if (['EADDRINUSE', 'EACCES'].includes(error.code)) resolve(false);
      else reject(error);
    });
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      server.close(() => resolve(true));
    });
  });
}

// SPDX-License-Identifier: GPL-3.0-or-later
// HTTP exchanges over pooled connections. The content is read from a Body piece by piece, and the answer's bytes are handed on as they
// arrive. Knows neither providers nor retries.

import type { NetworkSettings, ProxyServer } from '../config/settings.ts';
import { errorCode, StorageError } from '../errors.ts';
import { abortReason } from '../store/abort.ts';
import { Memory } from '../store/memory.ts';
import { readRegularFile } from '../store/regular-file.ts';
import { type Address, createOpen, type ProxyRoute } from './connect.ts';
import { type Answer, Exchange, type ExchangeRequest, TransportError } from './exchange.ts';
import { Pool } from './pool.ts';
import { createProxyChoice } from './proxies.ts';

export {
  type Answer,
  type ExchangeRequest,
  type Headers,
  type Receiver,
  TransportError,
} from './exchange.ts';

/** Beyond MaxConnections, so that removals need not wait for large contents (store/limit.ts). Orthanc removes one file at a time, under its
 *  two to four possible names at once. */
const REMOVAL_CONNECTIONS = 4;
/** Larger ones bring nothing. A request of a small file leaves in one write. */
const SEND_BYTES = 256 * 1024;
const RECEIVE_BYTES = 256 * 1024;

export interface Transport {
  /** Resolves with any complete answer, whatever its status. Once it has settled, the content is not read and the receiver not called.
   *  @throws TransportError; what the receiver threw; the signal's reason as a StorageError */
  exchange(request: ExchangeRequest): Promise<Answer>;
  /** Aborts what is under way and ends all connections. */
  close(): Promise<void>;
}

/** @throws StorageError BAD_CONFIG for a file of authorities that cannot be read, or a proxy that is no URL */
export function createTransport(settings: NetworkSettings): Transport {
  const proxyFor = createProxyChoice(settings.proxies);
  const { http, https } = settings.proxies;
  const proxies = new Map([http, https].map((proxy) => [proxy, proxy && readProxy(proxy)]));
  const open = createOpen({
    timeoutMs: settings.connectionTimeoutMs,
    authorities: readAuthorities(settings.caCertificatesFile),
    receiveBuffer: Buffer.allocUnsafeSlow(RECEIVE_BYTES),
  });
  const buffers = new Memory(SEND_BYTES, Number.POSITIVE_INFINITY);
  const general = new Map<string, Way>();
  const removing = new Map<string, Way>();
  let isClosed = false;

  function createWay(origin: string, maxConnections: number): Way {
    const { protocol, host } = new URL(origin);
    const proxy = proxyFor(origin);
    const pool = new Pool({
      route: {
        origin,
        host,
        server: addressOf(new URL(origin)),
        isTls: protocol === 'https:',
        proxy: proxies.get(proxy),
      },
      maxConnections,
      // After a connection that died silently, there must be time for another attempt within RequestTimeout.
      silenceMs: Math.max(1, Math.floor(settings.requestTimeoutMs / 4)),
      buffers,
      open,
    });
    return { pool, proxySetting: proxy?.setting };
  }

  function wayFor({ origin, method, isWaitedFor }: ExchangeRequest): Way {
    const isRemoval = method === 'DELETE' && isWaitedFor !== false;
    const ways = isRemoval ? removing : general;
    const known = ways.get(origin);
    if (known !== undefined) return known;
    const { maxConnections } = settings;
    const limit = isRemoval ? Math.min(maxConnections, REMOVAL_CONNECTIONS) : maxConnections;
    const way = createWay(origin, limit);
    ways.set(origin, way);
    return way;
  }

  return {
    exchange(request) {
      return new Promise((resolve, reject) => {
        const { signal } = request;
        if (isClosed) {
          reject(new TransportError('TRANSPORT_CLOSED', 'the connections are closed', true));
          return;
        }
        if (signal?.aborted) {
          reject(abortReason(signal));
          return;
        }
        const { pool, proxySetting } = wayFor(request);
        pool.run(new Exchange(request, proxySetting, resolve, reject));
      });
    },
    close() {
      isClosed = true;
      for (const { pool } of [...general.values(), ...removing.values()]) pool.close();
      return Promise.resolve();
    },
  };
}

interface Way {
  readonly pool: Pool;
  readonly proxySetting: string | undefined;
}

function addressOf({ protocol, hostname, port }: URL): Address {
  const host = hostname.replace(/^\[|\]$/g, '');
  return { host, port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port) };
}

function readProxy({ url, setting }: ProxyServer): ProxyRoute {
  try {
    const parsed = new URL(url.reveal());
    if (!/^https?:$/.test(parsed.protocol)) throw new Error(parsed.protocol);
    const login = [parsed.username, parsed.password].map(decodeURIComponent).join(':');
    return {
      server: addressOf(parsed),
      isTls: parsed.protocol === 'https:',
      authorization: login === ':' ? undefined : `Basic ${Buffer.from(login).toString('base64')}`,
    };
  } catch {
    // Without the cause, whose message quotes the URL with its password.
    throw new StorageError(
      'BAD_CONFIG',
      `${setting}: is not a URL such as "http://user:password@host:3128"`,
    );
  }
}

function readAuthorities(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  let pem: string;
  try {
    pem = readRegularFile(file);
  } catch (cause) {
    const isOther = errorCode(cause) === 'ENOTFILE';
    const problem = isOther ? `"${file}" is no file` : `cannot read the file "${file}"`;
    throw new StorageError('BAD_CONFIG', `HttpsCACertificates: ${problem}`, { cause });
  }
  if (!pem.includes('-----BEGIN')) {
    throw new StorageError('BAD_CONFIG', `HttpsCACertificates: "${file}" holds no PEM certificate`);
  }
  return pem;
}

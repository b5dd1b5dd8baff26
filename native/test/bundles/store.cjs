// SPDX-License-Identifier: GPL-3.0-or-later
// A store in memory in the place of the plugin's TypeScript. Uuids that begin with "!" and the paths of REST calls make it
// misbehave; the configuration is { refuse, storage, rangeReads, lanes, callTimeoutMs, watchdogMs, ... }.
'use strict';

const PART = 65_536;
const INFO = 2;

exports.main = (binding) => {
  const settings = { storage: true, rangeReads: true, lanes: 1, callTimeoutMs: 10_000, watchdogMs: 0, ...JSON.parse(binding.configuration()) };
  // Those of all kinds of calls, unless it says more.
  const timeouts = { removeTimeoutMs: settings.callTimeoutMs, metricsTimeoutMs: settings.callTimeoutMs, stopTimeoutMs: 0 };
  const codes = binding.orthancErrorCodes;
  const contents = new Map();

  const end = (reason) => {
    binding.ending(reason);
    process.exit(1);
  };
  process.on('uncaughtException', (error) => end(`uncaught exception: ${error.message}`));
  process.on('unhandledRejection', (error) => end(`unhandled rejection: ${error.message}`));

  // For the environments to come: a heap's limit is set when it is made.
  if (settings.heapMb) require('node:v8').setFlagsFromString(`--max-old-space-size=${settings.heapMb}`);
  if (settings.refuse) return binding.refuse(settings.refuse);
  if (settings.refuseLane === binding.lane) return binding.refuse(`not in lane ${binding.lane}`);
  if (settings.refuseWhenRestarted && binding.restarted) return binding.refuse(settings.refuseWhenRestarted);

  const attempt = (name, work) => {
    try {
      work();
      binding.log(INFO, `${name}: done`);
    } catch (error) {
      binding.log(INFO, `${name}: ${error.code ?? error.message}`);
    }
  };

  const readAll = (id, size) => {
    const all = Buffer.alloc(size);
    for (let offset = 0; offset < size; offset += PART) binding.readInto(id, offset, all.subarray(offset, offset + PART));
    return all;
  };
  const answer = (id, bytes) => {
    binding.allocate(id, bytes.length);
    for (let offset = 0; offset < bytes.length; offset += PART) binding.write(id, offset, bytes.subarray(offset, offset + PART));
    binding.complete(id, 0);
  };

  const late = new Map();
  const commands = {
    exit: () => process.exit(7),
    throw: () => setTimeout(() => { throw new Error('boom'); }, 1),
    throwAtOnce: () => { throw new Error('at once'); },
    reject: () => void Promise.reject(new Error('forgotten')),
    spin: () => { for (;;); },
    exitWhileReading: () => {
      for (let file = 0; file < 20; file++) {
        const steps = [['open', '/dev/zero', 0], ['read', Buffer.alloc(20_000_000), 0]];
        binding.runFileSteps(undefined, steps, 60_000).catch(() => undefined);
      }
      setTimeout(() => process.exit(8), 5);
    },
    silent: () => binding.log(INFO, `waits in lane ${binding.lane}`),
    late: (id, size) => late.set(id, size),
    grow: async () => { const all = []; for (;;) { await null; all.push(new Array(1_000).fill(all.length)); } },
    otherSize: (id, size) => {
      attempt('allocate', () => binding.allocate(id, size + 1));
      binding.complete(id, codes.CorruptedFile);
    },
    short: (id) => {
      binding.allocate(id, 10);
      binding.write(id, 0, new Uint8Array(9));
      attempt('complete', () => binding.complete(id, 0));
      binding.complete(id, codes.CorruptedFile);
    },
    outside: (id, size) => {
      attempt('read beyond', () => binding.readInto(id, 0, new Uint8Array(size + 1)));
      attempt('read negative', () => binding.readInto(id, -1, new Uint8Array(1)));
      attempt('read half', () => binding.readInto(id, 0.5, new Uint8Array(1)));
      attempt('read nothing at the end', () => binding.readInto(id, size, new Uint8Array(0)));
      attempt('write unasked', () => binding.write(id, 0, new Uint8Array(1)));
      attempt('allocate unasked', () => binding.allocate(id, 1));
      attempt('write a string', () => binding.write(id, 0, 'text'));
      attempt('respond to storage', () => binding.respond(id, 200, '', new Uint8Array(1)));
      attempt('complete with 2^32', () => binding.complete(id, 2 ** 32));
      attempt('complete with text', () => binding.complete(id, 'fine'));
      attempt('other id', () => binding.complete(id + 1000, 0));
      binding.complete(id, 0);
      attempt('again', () => binding.complete(id, 0));
    },
    crc32: (id) => {
      const check = Buffer.from('123456789');
      const zeros = Buffer.alloc(1_000_003, 7);
      const { crc32 } = require('node:zlib');
      const isRight =
        binding.crc32(check, 0) === 0xcbf43926 &&
        binding.crc32(check.subarray(4), binding.crc32(check.subarray(0, 4), 0)) === 0xcbf43926 &&
        binding.crc32(new Uint8Array(0), 5) === 5 &&
        [0, 1, 17, 255].every((at) => binding.crc32(zeros.subarray(at), 0xffffffff) === crc32(zeros.subarray(at), 0xffffffff));
      binding.log(INFO, `crc32: ${isRight ? 'right' : 'WRONG'}`);
      attempt('crc32 of a string', () => binding.crc32('text', 0));
      attempt('crc32 after 2^32', () => binding.crc32(check, 2 ** 32));
      binding.complete(id, 0);
    },
    // What they do is tried by test/unit/local/file-steps.test.ts; here, wrong use.
    fileSteps: (id) => {
      const run = (steps, file, timeoutMs = 1000) => binding.runFileSteps(file, steps, timeoutMs);
      attempt('no steps', () => run([]));
      attempt('unknown step', () => run([['format']]));
      attempt('step without a name', () => run([[]]));
      attempt('no array', () => run(5));
      attempt('no array of arrays', () => run(['open']));
      attempt('open without flags', () => run([['open', '/']]));
      attempt('write a string', () => run([['write', 'text', 0]]));
      attempt('write before the beginning', () => run([['write', new Uint8Array(1), -1]]));
      attempt('file as text', () => run([['close']], 'text'));
      attempt('endless', () => run([['close']], undefined, Infinity));
      binding.complete(id, 0);
    },
    // What comes out is compared with node:crypto's by the tests of encryption; here, with what OpenSSL's own would not find.
    encrypt: (id, size) => {
      const hex = (text) => Buffer.from(text, 'hex');
      // Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", whose plaintext the test sends.
      const key = hex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308');
      const iv = hex('cafebabefacedbaddecaf888');
      const additional = hex('feedfacedeadbeeffeedfacedeadbeefabaddad2');
      const block = hex('cafebabefacedbaddecaf88800000002');
      const [sealer, opener, counter] = [0, 1, 2].map((mode) => new binding.Aes(mode, key));
      const content = readAll(id, size);
      const verdict = (name, isRight) => binding.log(INFO, `${name}: ${isRight ? 'right' : 'WRONG'}`);

      const sealed = Buffer.alloc(size + 16);
      // Twice: a message leaves nothing behind for the next one, also where their nonces differ in length.
      for (const nonce of [Buffer.alloc(32), iv]) {
        sealer.begin(nonce, additional);
        for (let at = 0; at < size; at += 777) binding.encryptInto(id, at, sealed.subarray(at, Math.min(at + 777, size)), sealer);
        sealer.seal(sealed.subarray(size));
      }
      if (size === 60) {
        const expected = '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662';
        verdict('sealed', sealed.toString('hex') === `${expected}76fc6ece0f4e1768cddf8853bb2d551b`);
      }
      const ciphertext = sealed.subarray(0, size);
      const tag = sealed.subarray(size);
      const opened = Buffer.alloc(size);
      binding.encryptInto(id, 0, opened, (counter.begin(block, new Uint8Array()), counter));
      verdict('counter', opened.equals(ciphertext));
      opener.begin(iv, additional);
      opener.update(ciphertext, opened);
      verdict('opened', opener.open(tag) && opened.equals(content));
      opener.begin(iv, additional.subarray(1));
      opener.update(ciphertext, opened);
      verdict('other additional data', !opener.open(tag));
      const whole = Buffer.alloc(size + 16);
      binding.sealInto(id, 0, whole, sealer, iv, additional);
      verdict('sealed whole', whole.equals(sealed));
      sealer.sealMessage(iv, additional, content, whole);
      verdict('sealed whole elsewhere', whole.equals(sealed));
      verdict('opened whole', opener.openMessage(iv, additional, whole, opened) && opened.equals(content));
      whole[size] ^= 1;
      verdict('forged whole', !opener.openMessage(iv, additional, whole, opened));
      tag[15] ^= 1;
      opener.begin(iv, additional);
      opener.update(ciphertext, ciphertext);
      verdict('forged', !opener.open(tag) && ciphertext.equals(content));

      attempt('a key of 31', () => new binding.Aes(0, key.subarray(1)));
      attempt('mode 3', () => new binding.Aes(3, key));
      attempt('no key', () => new binding.Aes(0));
      attempt('called', () => binding.Aes(0, key));
      attempt('before a message', () => new binding.Aes(0, key).update(tag, tag));
      attempt('seal twice', () => sealer.seal(tag));
      attempt('counter with data', () => counter.begin(block, additional));
      attempt('short block', () => counter.begin(block.subarray(1), new Uint8Array()));
      attempt('no nonce', () => sealer.begin(new Uint8Array(), additional));
      sealer.begin(iv, additional);
      attempt('opened by a sealer', () => sealer.open(tag));
      attempt('other lengths', () => sealer.update(iv, tag));
      attempt('a tag of 15', () => sealer.seal(tag.subarray(1)));
      attempt('encrypt beyond', () => binding.encryptInto(id, 1, Buffer.alloc(size), sealer));
      attempt('encrypt with another object', () => binding.encryptInto(id, 0, opened, {}));
      attempt('encrypt with a number', () => binding.encryptInto(id, 0, opened, 5));
      attempt('method of another object', () => sealer.update.call({}, tag, tag));
      attempt('seal beyond', () => binding.sealInto(id, 1, whole, sealer, iv, additional));
      attempt('seal without room', () => binding.sealInto(id, 0, whole.subarray(0, 15), sealer, iv, additional));
      attempt('seal other lengths', () => sealer.sealMessage(iv, additional, tag, tag));
      attempt('open without room', () => opener.openMessage(iv, additional, whole, whole));
      attempt('seal by an opener', () => binding.sealInto(id, 0, whole, opener, iv, additional));
      attempt('seal with another object', () => binding.sealInto(id, 0, whole, {}, iv, additional));
      sealer.wipe();
      attempt('encrypt when wiped', () => binding.encryptInto(id, 0, opened, sealer));
      attempt('seal when wiped', () => binding.sealInto(id, 0, whole, sealer, iv, additional));
      attempt('begin when wiped', () => sealer.begin(iv, additional));
      sealer.wipe();
      binding.complete(id, 0);
    },
    lane: (id) => answer(id, Buffer.from(String(binding.lane))),
    slow: (id) => setTimeout(() => binding.complete(id, 0), 300),
    // The test makes a pipe whose other end is closed, which is where SIGPIPE is certain.
    pipe: (id) => {
      attempt('write to a closed pipe', () => require('node:fs').writeSync(settings.closedPipe, 'x'));
      writeToClosedSocket().then((written) => { binding.log(INFO, `socket: ${written}`); binding.complete(id, 0); });
    },
    callThenWait: (id) => binding.getFromOrthanc('/anything').then(() => binding.complete(id, 0)),
  };

  const onStorage = [
    (id, uuid, size) => { contents.set(uuid, readAll(id, size)); binding.complete(id, 0); },
    (id, uuid) => { const bytes = contents.get(uuid); if (bytes) answer(id, bytes); else binding.complete(id, codes.InexistentFile); },
    (id, uuid, size, start) => {
      const bytes = contents.get(uuid);
      if (!bytes) binding.complete(id, codes.InexistentFile);
      else if (start + size > bytes.length) binding.complete(id, codes.BadRange);
      else answer(id, bytes.subarray(start, start + size));
    },
    (id, uuid) => { contents.delete(uuid); binding.complete(id, 0); },
  ];

  const onRest = (id, method, path, body, headers) => {
    const text = (status, reply) => binding.respond(id, status, 'text/plain', Buffer.from(reply));
    if (path === '/object-storage/log') {
      for (let level = 0; level < 4; level += 1) binding.log(level, `level ${level}`);
      return text(200, '');
    }
    if (path === '/object-storage/missing') return text(404, 'none such');
    if (path === '/object-storage/headers') return binding.respond(id, body.length > 0 ? 200 : 304, 'text/css', body, headers.toUpperCase());
    if (path === '/object-storage/silent') return undefined;
    if (path === '/object-storage/reenter') {
      return attempt('respond', () => binding.respond(id, 200, { toString() { text(200, 'ended'); return 'x'; } }, new Uint8Array(1)));
    }
    if (path === '/object-storage/call') {
      return binding.getFromOrthanc('/made/up').then((reply) => text(200, `${reply.status} ${Buffer.from(reply.body)}`));
    }
    if (path.startsWith('/object-storage/ask-lane/')) {
      try {
        return binding.askLane(Number(path.split('/').at(-1)), 'figures').then((reply) => text(200, `${reply.status} ${Buffer.from(reply.body)}`));
      } catch (error) {
        return text(200, error.message);
      }
    }
    if (path === '/object-storage/submit') {
      return binding.submitJob('MoveStorage', 7, '{"new":true}', String(body)).then((reply) => text(200, `${reply.status} ${Buffer.from(reply.body)}`));
    }
    if (path === '/object-storage/process') {
      const facts = { argv: process.argv.length, execArgv: process.execArgv, poisoned: globalThis.poisoned, filename: __filename, dirname: __dirname, restarted: binding.restarted };
      return text(200, JSON.stringify(facts));
    }
    return text(200, `${method} ${path} ${body}`);
  };

  // A job that counts its steps in what Orthanc keeps of it, and ends after the third.
  const onJob = (id, kind, handle, serialized) => {
    const update = (progress, content, next, status) => {
      binding.updateJob(handle, progress, content, JSON.stringify(next), status);
      binding.complete(id, 0);
    };
    if (kind === 'job-restore') {
      const { Type, ...kept } = JSON.parse(String(serialized));
      return update(0, '{}', kept, 3);
    }
    const { steps = 0, ...rest } = JSON.parse(String(serialized));
    if (rest.exit && steps === rest.exit) return end('a step that ends the runtime');
    if (rest.exitAtReset && kind === 'job-reset' && !binding.restarted) return end('a reset that ends the runtime');
    const next = kind === 'job-reset' ? 0 : steps + 1;
    return update(next / 3, JSON.stringify({ kind, steps: next }), { ...rest, steps: next, exit: undefined }, next < 3 ? 3 : rest.fails ? 2 : 1);
  };

  binding.start({
    onRequest(id, operation, uuid, type, contentBytes, start, end) {
      const size = operation === 2 ? end - start : contentBytes;
      if (uuid[0] === '!') {
        binding.log(INFO, `takes ${uuid}`);
        commands[uuid.slice(1)](id, size);
      } else onStorage[operation](id, uuid, size, start);
    },
    onCall(id, name, argument, contentBytes, headers) {
      if (name === 'metrics') binding.respond(id, 200, 'text/plain', Buffer.from('oos_bytes 5000000001\noos_ms 1.500\n'));
      else if (name === 'figures') binding.respond(id, 200, 'text/plain', Buffer.from(`of lane ${binding.lane}`));
      else if (name.startsWith('job-')) onJob(id, name, argument, readAll(id, contentBytes));
      else onRest(id, name, argument, readAll(id, contentBytes), headers);
    },
    onAbandoned(id) {
      binding.log(INFO, 'abandoned');
      if (!late.has(id)) return;
      attempt('late read', () => binding.readInto(id, 0, new Uint8Array(late.get(id))));
      const aes = new binding.Aes(2, new Uint8Array(32));
      aes.begin(new Uint8Array(16), new Uint8Array());
      attempt('late encrypt', () => binding.encryptInto(id, 0, new Uint8Array(late.get(id)), aes));
      attempt('late allocate', () => binding.allocate(id, 10));
      attempt('late write', () => binding.write(id, 0, new Uint8Array(10)));
      attempt('late complete', () => binding.complete(id, 0));
    },
    onStop() {
      binding.log(INFO, 'asked to stop');
      if (settings.ignoreStop) setInterval(() => {}, 1000);
      else binding.release();
    },
  });
  if (!settings.neverReady) binding.ready({ ...timeouts, ...settings });
};

function writeToClosedSocket() {
  const net = require('node:net');
  return new Promise((resolve) => {
    const server = net.createServer((socket) => socket.once('data', () => socket.resetAndDestroy())).listen(0, '127.0.0.1', () => {
      const socket = net.connect(server.address().port, '127.0.0.1');
      let written = 0;
      const timer = setInterval(() => { written += 1; socket.write('x'); }, 1);
      socket.on('error', () => {});
      socket.on('close', () => {
        clearInterval(timer);
        server.close();
        resolve(written > 0 ? 'written' : 'nothing was written');
      });
    });
  });
}

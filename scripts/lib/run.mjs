// SPDX-License-Identifier: GPL-3.0-or-later
// Running commands of the host.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';

import { UserError } from './log.mjs';

/** @typedef {{ code: number, stdout: string, stderr: string }} CommandResult */

/** Lines of output that an error message quotes. */
const quotedLines = 40;

/**
 * Waits for a process to end. Death by a signal counts as 128 + its number, as in a shell.
 * @param {import('node:child_process').ChildProcess} child
 * @returns {Promise<number>}
 */
export function waitForExit(child) {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });
}

/**
 * Collects what a process writes until it ends. Nothing is limited: use it for short outputs.
 * @param {import('node:child_process').ChildProcess} child
 * @param {string | Uint8Array} [input] written to its stdin, which is then closed
 * @returns {Promise<CommandResult>}
 */
export async function collectOutput(child, input) {
  /** @type {Buffer[]} */ const out = [];
  /** @type {Buffer[]} */ const err = [];
  child.stdout?.on('data', (chunk) => out.push(chunk));
  child.stderr?.on('data', (chunk) => err.push(chunk));
  child.stdin?.on('error', () => {}); // it may end without reading all of its input
  child.stdin?.end(input);
  const code = await waitForExit(child);
  return { code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
}

/**
 * Runs a command to its end and returns what it wrote, whatever its exit code.
 * @param {readonly string[]} argv
 * @param {import('node:child_process').SpawnOptions & { input?: string }} [options]
 * @returns {Promise<CommandResult>}
 */
export function capture(argv, { input, ...options } = {}) {
  const child = spawnGuarded(argv, { ...options, stdio: 'pipe', deathSignal: 'TERM' });
  return collectOutput(child, input);
}

/**
 * Runs a command that has to succeed; its output is shown only when it fails.
 * @param {readonly string[]} argv
 * @param {import('node:child_process').SpawnOptions & { input?: string }} [options]
 * @returns {Promise<string>} its stdout
 * @throws UserError with the end of its output
 */
export async function run(argv, options = {}) {
  const result = await capture(argv, options);
  if (result.code !== 0) throw createCommandError(argv, result);
  return result.stdout;
}

/**
 * @param {readonly string[]} argv
 * @param {CommandResult} result
 */
export function createCommandError(argv, { code, stdout, stderr }) {
  const tail = `${stdout}\n${stderr}`.trim().split('\n').slice(-quotedLines).join('\n');
  return new UserError(`"${argv.join(' ')}" ended with ${code}:\n${tail}`);
}

/** Of util-linux; not busybox's, which can't do this. */
const hasSetpriv = existsSync('/usr/bin/setpriv');

/**
 * Starts a process that dies with this one, also when this one is killed with SIGKILL (on Linux).
 * The pid is the command's own.
 * @param {readonly string[]} argv
 * @param {import('node:child_process').SpawnOptions & { deathSignal?: 'KILL' | 'TERM' | 'clear' }} [options]
 */
export function spawnGuarded(argv, { deathSignal = 'KILL', ...options } = {}) {
  const guard = hasSetpriv ? ['/usr/bin/setpriv', '--pdeathsig', deathSignal] : [];
  const [command, ...args] = [...guard, ...argv];
  return spawn(command, args, options);
}

/**
 * Ends a process, gently first.
 * @param {import('node:child_process').ChildProcess} child
 * @param {number} [graceMs] until SIGKILL follows SIGTERM
 */
export async function stopProcess(child, graceMs = 10_000) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  await exited;
  clearTimeout(timer);
}

/**
 * Says whether a command can be found on the PATH.
 * @param {string} command
 */
export async function hasCommand(command) {
  return (await findCommand(command)) !== undefined;
}

/**
 * @param {string} command
 * @returns {Promise<string | undefined>} its path, if it is on the PATH
 */
export async function findCommand(command) {
  const { code, stdout } = await capture(['sh', '-c', 'command -v "$1"', 'sh', command]);
  return code === 0 ? stdout.trim() : undefined;
}

/** Standard error, written once a turn of the event loop: a system call for each line would cost as much as the line. */
import { writeSync } from 'node:fs';
import { createLog, type Log } from './log.ts';
import type { Settings } from './settings.ts';

const STANDARD_ERROR = 2;
/** A reader that stands still must not fill the memory: what does not fit is lost. */
const PENDING_LENGTH_MAX = 1024 ** 2;
const RETRY_MS = 10;
/** What a pipe takes whole or not at all (PIPE_BUF): lines of processes that share it do not run into each other. */
const PIECE_BYTES_MAX = 4096;
/** How long the end of the process waits for a reader who is slow. */
const LAST_WAIT_MS = 1000;

const NEWLINE = 0x0a;

/** To wait where no event loop turns any more. */
const stillness = new Int32Array(new SharedArrayBuffer(4));

let pending = '';
let scheduled = false;

/** Writes to standard error, in the form that fits who reads there. */
export function openLog({ log_level, log_format }: Settings): Log {
  const format = log_format ?? (process.stderr.isTTY ? 'pretty' : 'json');
  return createLog(log_level, format, writeLine);
}

/** Writes a line soon, and before the process ends by itself in any case. */
export function writeLine(line: string) {
  if (pending.length > PENDING_LENGTH_MAX) return;
  pending += `${line}\n`;
  if (scheduled) return;
  scheduled = true;
  setImmediate(flush);
}

function flush() {
  scheduled = false;
  let bytes = Buffer.from(pending);
  pending = '';
  try {
    while (bytes.length > 0) bytes = bytes.subarray(writeSync(STANDARD_ERROR, firstPieceOf(bytes)));
  } catch (error) {
    // Nobody reads any more: there is nobody to tell either.
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
    pending = bytes.toString() + pending;
    scheduled = true;
    setTimeout(flush, RETRY_MS);
  }
}

/** As many whole lines as fit, or one that is longer. */
function firstPieceOf(bytes: Buffer): Buffer {
  if (bytes.length <= PIECE_BYTES_MAX) return bytes;
  const fits = bytes.lastIndexOf(NEWLINE, PIECE_BYTES_MAX - 1);
  return bytes.subarray(0, (fits === -1 ? bytes.indexOf(NEWLINE) : fits) + 1);
}

process.on('exit', () => {
  const until_ms = performance.now() + LAST_WAIT_MS;
  flush();
  while (pending !== '' && performance.now() < until_ms) {
    Atomics.wait(stillness, 0, 0, RETRY_MS);
    flush();
  }
});

/** Writes the log to standard error, once for each turn of the event loop: a system call a line would double its cost. */
import { writeSync } from 'node:fs';
import { createLog, type Log } from '../lib/log.ts';
import type { Settings } from '../settings.ts';

const STANDARD_ERROR = 2;
/** A reader that has stopped must not fill the memory: lines beyond this are dropped. */
const PENDING_LENGTH_MAX = 1024 ** 2;
const RETRY_MS = 10;
/** A pipe takes this much whole or not at all (PIPE_BUF), so lines of processes that share it do not mix. */
const PIECE_BYTES_MAX = 4096;
/** How long the exit of the process waits for a slow reader. */
const EXIT_TIMEOUT_MS = 1000;

const NEWLINE = 0x0a;

/** For a blocking sleep in the exit handler, where the event loop has stopped. */
const sleepCell = new Int32Array(new SharedArrayBuffer(4));

let pending = '';
let scheduled = false;

/** Returns a log on standard error: pretty on a terminal, JSON elsewhere, unless LOG_FORMAT says otherwise. */
export function openStderrLog({ logLevel, logFormat }: Settings): Log {
  const format = logFormat ?? (process.stderr.isTTY ? 'pretty' : 'json');
  return createLog(logLevel, format, writeLine);
}

/** Writes a line in this turn of the event loop, and at the latest when the process exits. */
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
    // The reader has closed the pipe: drop the lines.
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
    pending = bytes.toString() + pending;
    scheduled = true;
    setTimeout(flush, RETRY_MS);
  }
}

/** Returns as many whole lines as fit into one piece, or one line that is longer. */
function firstPieceOf(bytes: Buffer): Buffer {
  if (bytes.length <= PIECE_BYTES_MAX) return bytes;
  const fits = bytes.lastIndexOf(NEWLINE, PIECE_BYTES_MAX - 1);
  return bytes.subarray(0, (fits === -1 ? bytes.indexOf(NEWLINE) : fits) + 1);
}

process.on('exit', () => {
  const untilMs = performance.now() + EXIT_TIMEOUT_MS;
  flush();
  while (pending !== '' && performance.now() < untilMs) {
    Atomics.wait(sleepCell, 0, 0, RETRY_MS);
    flush();
  }
});

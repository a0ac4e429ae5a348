/** Writes more lines at a time than a pipe takes whole, each as a process of the server would. */
import { writeLine } from '../../src/server/stderr-log.ts';

const TURNS = 20;
const LINES_A_TURN = 60;

for (let turn = 0; turn < TURNS; turn += 1) {
  for (let n = 0; n < LINES_A_TURN; n += 1)
    writeLine(
      JSON.stringify({ pid: process.pid, line: turn * LINES_A_TURN + n, pad: 'x'.repeat(180) }),
    );
  await new Promise((next) => setTimeout(next));
}

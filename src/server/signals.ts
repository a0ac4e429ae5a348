/**
 * SIGTERM and SIGINT, received from the first moment of the process. This module imports nothing, so that the handlers
 * are installed before the rest of the program loads.
 */

export type StopSignal = 'SIGTERM' | 'SIGINT';

/**
 * A terminal and systemd signal every process of a group, and `bun run` forwards what it gets, so one request to stop
 * arrives twice within milliseconds. A second request comes after the event loop has run for this long. While a start loads its
 * modules, the loop stands still, and then delivers both signals together, however late.
 */
const SECOND_REQUEST_AFTER_MS = 1000;
const STEP_MS = 100;
/** A step that takes longer than this stood still for the rest of its time. */
const STEP_MS_MAX = 250;

/** The signals that arrive before there is a listener. */
const waiting: StopSignal[] = [];
let listener = (signal: StopSignal): void => void waiting.push(signal);

/** Installs the handlers. */
export function receiveSignals() {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => listener(signal));
}

/** Calls back for each signal, also for those that have arrived already. */
export function onSignal(listen: (signal: StopSignal) => void) {
  listener = listen;
  for (const signal of waiting.splice(0)) listen(signal);
}

/** Calls `stop` for the first signal, and `stopNow` for one that comes a second later or more. */
export function onStopRequest(stop: (signal: StopSignal) => void, stopNow: () => void) {
  let isStopping = false;
  let ranMs = 0;
  let countedAtMs = 0;
  const count = () => {
    const nowMs = performance.now();
    ranMs += Math.min(nowMs - countedAtMs, STEP_MS_MAX);
    countedAtMs = nowMs;
  };
  onSignal((signal) => {
    if (isStopping) {
      count();
      if (ranMs >= SECOND_REQUEST_AFTER_MS) stopNow();
      return;
    }
    isStopping = true;
    countedAtMs = performance.now();
    setInterval(count, STEP_MS).unref();
    stop(signal);
  });
}

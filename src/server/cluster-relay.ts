/** Forwards messages between the workers of a cluster, and keeps the counters of workers that have exited. */
// Decision: docs/decisions/22-monotonic-counters.md
import type { Subprocess } from 'bun';
import { waitUpTo } from '../lib/sleep.ts';
import type { PeerTopic } from '../platform.ts';
import type { FromWorker, ToWorker } from './cluster-channel.ts';
import { countersOf, mergeCounters, type Snapshot } from './metrics.ts';

/** A worker that does not reply in time is left out, except for the counters of its last reply. */
const REPLY_TIMEOUT_MS = 1000;

export interface Relay {
  /** From now on the worker gets the messages of the others. */
  join(worker: Subprocess): void;
  /** The worker has exited. */
  leave(worker: Subprocess): void;
  receive(worker: Subprocess, message: FromWorker): void;
}

/** A request of one worker to all others, until all have replied. */
interface PendingRequest {
  readonly expected: Set<Subprocess>;
  readonly replies: Map<Subprocess, unknown>;
  onComplete(): void;
}

export function createRelay(): Relay {
  const members = new Set<Subprocess>();
  const snapshots = new WeakMap<Subprocess, Snapshot>();
  const requests = new Map<number, PendingRequest>();
  let requestCount = 0;
  let exitedCounters: Promise<Snapshot> = Promise.resolve([]);

  const othersThan = (worker: Subprocess) => [...members].filter((member) => member !== worker);

  async function forward(
    sender: Subprocess,
    { topic, message, request }: FromWorker & { kind: 'request' },
  ) {
    const others = othersThan(sender);
    // Read this first: a worker that exits while we wait must not be counted twice.
    const exited = exitedCounters;
    const complete = Promise.withResolvers<void>();
    const replies = new Map<Subprocess, unknown>();
    const number = ++requestCount;
    requests.set(number, { expected: new Set(others), replies, onComplete: complete.resolve });
    for (const other of others) send(other, { kind: 'request', topic, message, request: number });
    if (others.length > 0) await waitUpTo(REPLY_TIMEOUT_MS, complete.promise);
    requests.delete(number);
    const silent = others.filter((other) => !replies.has(other));
    const kept = topic === 'metrics' ? [await exited, ...silent.map(lastCounters)] : [];
    send(sender, { kind: 'responses', responses: [...replies.values(), ...kept], request });
  }

  const lastCounters = (worker: Subprocess) => countersOf(snapshots.get(worker) ?? []);

  function expectNoReply(request: PendingRequest, worker: Subprocess) {
    request.expected.delete(worker);
    if (request.expected.size === 0) request.onComplete();
  }

  /** Keeps the latest snapshot: it is all that remains of a worker that is killed. */
  function keep(worker: Subprocess, topic: PeerTopic, message: unknown) {
    if (topic === 'metrics') snapshots.set(worker, message as Snapshot);
  }

  return {
    join: (worker) => void members.add(worker),
    leave(worker) {
      members.delete(worker);
      for (const request of requests.values()) expectNoReply(request, worker);
      const counters = lastCounters(worker);
      exitedCounters = exitedCounters.then((before) =>
        mergeCounters(before, counters).catch(() => before),
      );
    },
    receive(worker, message) {
      if (message.kind === 'broadcast') {
        const { topic, message: content } = message;
        keep(worker, topic, content);
        // Final counters: store them, do not forward them.
        if (topic === 'metrics') return;
        for (const other of othersThan(worker))
          send(other, { kind: 'broadcast', topic, message: content });
      } else if (message.kind === 'request') {
        keep(worker, message.topic, message.message);
        void forward(worker, message);
      } else if (message.kind === 'response') {
        keep(worker, message.topic, message.response);
        const request = requests.get(message.request);
        request?.replies.set(worker, message.response);
        if (request) expectNoReply(request, worker);
      }
    },
  };
}

/** Sends a message. A worker that is about to exit may not get it. */
export function send(worker: Subprocess, message: ToWorker) {
  try {
    worker.send(message);
  } catch {}
}

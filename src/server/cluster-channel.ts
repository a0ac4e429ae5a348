/**
 * The messages between the worker processes of a cluster, and the workers' end of the channel. The supervisor forwards
 * messages from worker to worker. A worker may be of a later version than its supervisor or its peers, so kinds
 * of messages are added and never changed.
 */
import type { PeerChannel, PeerTopic } from '../platform.ts';

/** The argument that tells a process that it is a worker. A process that an operator starts by hand has no channel. */
export const SUPERVISED = '--supervised';

/** The URLs of a server, without a slash at the end. */
export interface Urls {
  readonly url: string;
  /** Where `/metrics` is served, if on a port of its own. */
  readonly metricsUrl: string | undefined;
}

export type FromWorker =
  | { kind: 'accepting'; urls: Urls }
  | { kind: 'cannot_start'; reason: string }
  | { kind: 'broadcast'; topic: PeerTopic; message: unknown }
  | { kind: 'request'; topic: PeerTopic; message: unknown; request: number }
  | { kind: 'response'; topic: PeerTopic; response: unknown; request: number };

export type ToWorker =
  /** `drain`: another worker serves in its place. `stop`: the whole cluster stops. */
  | { kind: 'drain' | 'stop' }
  | { kind: 'broadcast'; topic: PeerTopic; message: unknown }
  | { kind: 'request'; topic: PeerTopic; message: unknown; request: number }
  | { kind: 'responses'; responses: unknown[]; request: number };

export interface SupervisorChannel {
  readonly peers: PeerChannel;
  /** Reports that this worker accepts requests. */
  accepting(urls: Urls): void;
  /** Reports why this worker cannot start. Resolves once the message is sent. */
  cannotStart(reason: string): Promise<void>;
  /** Calls back when the supervisor orders an exit. Without a supervisor that is `stop`: no other process would order it. */
  onOrder(order: (kind: 'drain' | 'stop') => void): void;
}

/** Connects a worker to its supervisor. @returns undefined for a process that serves alone. */
export function connectToSupervisor(): SupervisorChannel | undefined {
  if (!process.argv.includes(SUPERVISED) || process.send === undefined) return undefined;
  const listeners = new Map<PeerTopic, ((message: unknown) => unknown)[]>();
  const pending = new Map<number, (responses: unknown[]) => void>();
  let requestCount = 0;
  let onOrder: (kind: 'drain' | 'stop') => void = () => undefined;

  // After the supervisor has exited, a message is lost, and this process is about to stop.
  const send = (message: FromWorker) =>
    new Promise<void>((sent) => {
      if (process.connected) process.send?.(message, undefined, undefined, () => sent());
      else sent();
    });
  const dispatch = (topic: PeerTopic, message: unknown) =>
    Promise.all((listeners.get(topic) ?? []).map((listener) => listener(message)));

  process.on('message', async (message: ToWorker) => {
    if (message.kind === 'broadcast') await dispatch(message.topic, message.message);
    else if (message.kind === 'request') {
      const { topic, request } = message;
      const [response] = await dispatch(topic, message.message);
      send({ kind: 'response', topic, response, request });
    } else if (message.kind === 'responses') {
      pending.get(message.request)?.(message.responses);
      pending.delete(message.request);
    } else onOrder(message.kind);
  });
  process.on('disconnect', () => {
    for (const resolve of pending.values()) resolve([]);
    pending.clear();
    onOrder('stop');
  });

  return {
    peers: {
      broadcast: (topic, message) => send({ kind: 'broadcast', topic, message }),
      request(topic, message) {
        if (!process.connected) return Promise.resolve([]);
        const { promise, resolve } = Promise.withResolvers<unknown[]>();
        requestCount += 1;
        pending.set(requestCount, resolve);
        send({ kind: 'request', topic, message, request: requestCount });
        return promise;
      },
      on: (topic, listener) =>
        void listeners.set(topic, [...(listeners.get(topic) ?? []), listener]),
    },
    // Without the functions of a running server: they cannot be sent over IPC.
    accepting: ({ url, metricsUrl }) => send({ kind: 'accepting', urls: { url, metricsUrl } }),
    cannotStart: (reason) => send({ kind: 'cannot_start', reason }),
    onOrder(order) {
      onOrder = order;
      if (!process.connected) onOrder('stop');
    },
  };
}

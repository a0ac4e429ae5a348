/**
 * What processes at one port say to each other: through the supervisor, who knows them all and passes it on. They may be
 * of a later version than it is, and than each other, so kinds of messages are added and never changed.
 */
import type { Siblings, Topic } from './platform.ts';

/** The argument that tells a process that it is one of several. Whoever starts it by hand has no channel. */
export const SUPERVISED = '--supervised';

/** Where it is served. */
export interface Urls {
  readonly url: string;
  /** Where `/metrics` is, if on a port of its own. */
  readonly metrics_url: string | undefined;
}

export type FromWorker =
  | { kind: 'accepting'; urls: Urls }
  | { kind: 'cannot_start'; reason: string }
  | { kind: 'tell'; topic: Topic; message: unknown }
  | { kind: 'ask'; topic: Topic; message: unknown; question: number }
  | { kind: 'answer'; topic: Topic; answer: unknown; question: number };

export type ToWorker =
  /** `retire`: others serve in its place. `stop`: all of them stop. */
  | { kind: 'retire' | 'stop' }
  | { kind: 'told'; topic: Topic; message: unknown }
  | { kind: 'asked'; topic: Topic; message: unknown; question: number }
  | { kind: 'answers'; answers: unknown[]; question: number };

export interface Supervisor {
  readonly siblings: Siblings;
  /** Says that this process serves. */
  accepting(urls: Urls): void;
  /** Resolves once the supervisor has it. */
  cannotStart(reason: string): Promise<void>;
  /** `stop`, too, when there is no supervisor any more: nobody would ever end this process. */
  onOrder(order: (kind: 'retire' | 'stop') => void): void;
}

/** @returns undefined for a process that serves alone. */
export function findSupervisor(): Supervisor | undefined {
  if (!process.argv.includes(SUPERVISED) || process.send === undefined) return undefined;
  const heard = new Map<Topic, ((message: unknown) => unknown)[]>();
  const asked = new Map<number, (answers: unknown[]) => void>();
  let questions = 0;
  let order: (kind: 'retire' | 'stop') => void = () => undefined;

  // What is said after the supervisor has gone is lost, and this process about to end.
  const say = (message: FromWorker) =>
    new Promise<void>((said) => {
      if (process.connected) process.send?.(message, undefined, undefined, () => said());
      else said();
    });
  const hear = (topic: Topic, message: unknown) =>
    Promise.all((heard.get(topic) ?? []).map((one) => one(message)));

  process.on('message', async (message: ToWorker) => {
    if (message.kind === 'told') await hear(message.topic, message.message);
    else if (message.kind === 'asked') {
      const { topic, question } = message;
      const [answer] = await hear(topic, message.message);
      say({ kind: 'answer', topic, answer, question });
    } else if (message.kind === 'answers') {
      asked.get(message.question)?.(message.answers);
      asked.delete(message.question);
    } else order(message.kind);
  });
  process.on('disconnect', () => {
    for (const answer of asked.values()) answer([]);
    asked.clear();
    order('stop');
  });

  return {
    siblings: {
      tell: (topic, message) => say({ kind: 'tell', topic, message }),
      ask(topic, message) {
        if (!process.connected) return Promise.resolve([]);
        const { promise, resolve } = Promise.withResolvers<unknown[]>();
        questions += 1;
        asked.set(questions, resolve);
        say({ kind: 'ask', topic, message, question: questions });
        return promise;
      },
      on: (topic, one) => void heard.set(topic, [...(heard.get(topic) ?? []), one]),
    },
    // What can be called does not pass.
    accepting: ({ url, metrics_url }) => say({ kind: 'accepting', urls: { url, metrics_url } }),
    cannotStart: (reason) => say({ kind: 'cannot_start', reason }),
    onOrder(wanted) {
      order = wanted;
      if (!process.connected) order('stop');
    },
  };
}

/** The supervisor's ear: passes on what workers say to each other, and remembers what those who are gone have counted. */
import type { Subprocess } from 'bun';
import { addToPast, countsOf, type Snapshot } from './metrics.ts';
import type { Topic } from './platform.ts';
import type { FromWorker, ToWorker } from './siblings.ts';

/** Who is too busy to answer his siblings is left out, but for what he had counted when somebody asked last. */
const ANSWER_TIMEOUT_MS = 1000;

export interface Relay {
  /** It is told and asked from now on. */
  join(worker: Subprocess): void;
  /** It has ended. */
  leave(worker: Subprocess): void;
  hear(worker: Subprocess, message: FromWorker): void;
}

/** What somebody has asked, while not all have answered. */
interface Question {
  readonly expected: Set<Subprocess>;
  readonly answers: Map<Subprocess, unknown>;
  answered(): void;
}

export function createRelay(): Relay {
  const members = new Set<Subprocess>();
  const snapshots = new WeakMap<Subprocess, Snapshot>();
  const questions = new Map<number, Question>();
  let asked = 0;
  let past: Promise<Snapshot> = Promise.resolve([]);

  const othersThan = (worker: Subprocess) => [...members].filter((member) => member !== worker);

  async function ask(
    asker: Subprocess,
    { topic, message, question }: FromWorker & { kind: 'ask' },
  ) {
    const others = othersThan(asker);
    // Now, before anybody who is asked can become a part of it.
    const before = past;
    const all = Promise.withResolvers<void>();
    const answers = new Map<Subprocess, unknown>();
    const number = ++asked;
    questions.set(number, { expected: new Set(others), answers, answered: all.resolve });
    for (const other of others) send(other, { kind: 'asked', topic, message, question: number });
    if (others.length > 0) await withTimeout(ANSWER_TIMEOUT_MS, all.promise);
    questions.delete(number);
    const silent = others.filter((other) => !answers.has(other));
    const remembered = topic === 'metrics' ? [await before, ...silent.map(countsBy)] : [];
    send(asker, { kind: 'answers', answers: [...answers.values(), ...remembered], question });
  }

  const countsBy = (worker: Subprocess) => countsOf(snapshots.get(worker) ?? []);

  function expectNoMore(question: Question, worker: Subprocess) {
    question.expected.delete(worker);
    if (question.expected.size === 0) question.answered();
  }

  /** The latest is what remains of a process that is killed. */
  function keep(worker: Subprocess, topic: Topic, message: unknown) {
    if (topic === 'metrics') snapshots.set(worker, message as Snapshot);
  }

  return {
    join: (worker) => void members.add(worker),
    leave(worker) {
      members.delete(worker);
      for (const question of questions.values()) expectNoMore(question, worker);
      const counts = countsBy(worker);
      past = past.then((before) => addToPast(before, counts).catch(() => before));
    },
    hear(worker, message) {
      if (message.kind === 'tell') {
        const { topic, message: told } = message;
        keep(worker, topic, told);
        // It is told to be kept.
        if (topic === 'metrics') return;
        for (const other of othersThan(worker)) send(other, { kind: 'told', topic, message: told });
      } else if (message.kind === 'ask') {
        keep(worker, message.topic, message.message);
        void ask(worker, message);
      } else if (message.kind === 'answer') {
        keep(worker, message.topic, message.answer);
        const question = questions.get(message.question);
        question?.answers.set(worker, message.answer);
        if (question) expectNoMore(question, worker);
      }
    },
  };
}

/** To a process that is about to end it may come too late. */
export function send(worker: Subprocess, message: ToWorker) {
  try {
    worker.send(message);
  } catch {}
}

/** Resolves with the promise, or after the time. */
export async function withTimeout(ms: number, promise: Promise<unknown>) {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, ms);
  await Promise.race([promise, late.promise]);
  clearTimeout(timer);
}

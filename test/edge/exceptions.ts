/**
 * The tests that cannot pass at the edge, by their full names, with the reason; `docs/edge.md` shows them to readers.
 * `suite.ts` leaves them out, then runs them alone and wants to see each fail: what passes is no exception.
 */
interface Exception {
  /** Below `test/`. */
  file: string;
  /** What they stand in, by `describe`. */
  within?: string;
  tests: readonly string[];
  reason: string;
}

export const exceptions: readonly Exception[] = [
  {
    file: 'http.test.ts',
    within: 'the Host header',
    tests: ['x/projects', 'a b', 'user@host', 'x?y', 'x#y', 'é', 'x\\y'].map(
      (host) => `${host} is malformed and misroutes nothing`,
    ),
    reason:
      'No worker sees a Host that is no host: whoever reads the message refuses it, workerd with 500.',
  },
  {
    file: 'security/asvs.test.ts',
    within: 'what no other test shows > a message whose end can be read in two ways is refused',
    tests: [
      'a length and chunks',
      'chunks and a length',
      'two lengths',
      'a list of lengths',
      'a length with a sign',
      'an unknown coding',
      'chunks that are not last',
      'a line folded',
    ],
    reason:
      'No worker sees where a message ends: whoever reads it decides. Where Bun answers 400, workerd answers 500, or takes chunks before a length (RFC 9112 §6.3).',
  },
  {
    file: 'safe-writes.test.ts',
    within: 'If-Match',
    tests: ['"" is malformed'],
    reason: 'workerd shows a field without a value as one that is not there.',
  },
  {
    file: 'account.test.ts',
    tests: ['an export whose database goes away is cut, and the log says so without the statement'],
    reason:
      'workerd ends an answer that fails as if it were whole; only that the JSON breaks off tells. The log tells too.',
  },
  {
    file: 'project-exports.test.ts',
    tests: ['who loses the access while it is written gets no more of it: it is cut, not short'],
    reason: 'The same.',
  },
  {
    file: 'database.test.ts',
    tests: ['beyond the connections and a bounded line, requests are refused at once'],
    reason: "There is no pool in a worker, so no line before it: both are Hyperdrive's.",
  },
  {
    file: 'observability.test.ts',
    within: '/metrics',
    tests: [
      'is text for Prometheus, for anybody, as often as an address may ask',
      'counts requests by method, route and status, with how long they took',
      'shows statements in flight and waiting, and hashes',
      'counts limits that were reached, by name',
      'tells of the event loop, the processor and the memory',
      'counts the streams that are open',
    ],
    reason:
      'Each isolate would count for itself, and nobody can ask all of them: 501, which names the metrics of Workers.',
  },
  {
    file: 'statuses.test.ts',
    within: 'GET /metrics',
    tests: ['can answer 200'],
    reason: 'The same; it answers 501.',
  },
  {
    file: 'security/properties.test.ts',
    within: 'GET /metrics',
    tests: ['holds under generated input'],
    reason: 'The same; the test wants no 5xx.',
  },
];

export const fullNames = exceptions.flatMap(({ within, tests }) =>
  tests.map((test) => (within ? `${within} > ${test}` : test)),
);

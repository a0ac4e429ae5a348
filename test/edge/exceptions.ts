/**
 * The tests that cannot pass at the edge, by their full names, with the reason; `docs/edge.md` shows them to readers.
 * `suite.ts` leaves them out, then runs them alone and expects each to fail: a test that passes is no exception.
 */
interface Exception {
  /** Below `test/`. */
  file: string;
  /** What they stand in, by `describe`. */
  within?: string;
  tests: readonly string[];
  reason: string;
  /** The test waits for minutes before it fails, so `suite.ts` does not run it to see it fail. */
  waits?: true;
}

export const exceptions: readonly Exception[] = [
  {
    file: 'api/http.test.ts',
    within: 'the Host header',
    tests: ['x/projects', 'a b', 'user@host', 'x?y', 'x#y', 'é', 'x\\y'].map(
      (host) => `${host} is malformed and misroutes nothing`,
    ),
    reason:
      'A worker never sees a malformed Host: the server in front rejects the message, workerd with 500.',
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
      'A worker never sees where a message ends: the server in front decides. Where Bun answers 400, workerd answers 500, or takes chunks before a length (RFC 9112 §6.3).',
  },
  {
    file: 'api/safe-writes.test.ts',
    within: 'If-Match',
    tests: ['"" is malformed'],
    reason: 'workerd shows a header without a value as an absent one.',
  },
  {
    file: 'api/dav.test.ts',
    within: 'discovery',
    tests: [
      'MKCALENDAR /dav/projects/019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23/ asks a stranger for a password',
    ],
    reason:
      'workerd does not know the method MKCALENDAR, and answers 501 by itself: MKCOL makes lists there.',
  },
  {
    file: 'api/dav-writes.test.ts',
    within: 'a list that a client makes',
    tests: ['by MKCALENDAR is one, too'],
    reason: 'The same.',
  },
  {
    file: 'api/long-polls.test.ts',
    within: 'a long poll',
    tests: ['is answered when the server stops'],
    reason: 'A worker is not told to stop: an isolate ends with its requests.',
  },
  {
    file: 'database/fairness.test.ts',
    tests: [
      'a user whose writes all wait for locks leaves reads, writes and their statements to the others',
      'short reads do not wait for the writes of many users that wait for locks',
    ],
    reason:
      'Each request has a connection of its own from Hyperdrive, so there are no places to share.',
    waits: true,
  },
  {
    file: 'api/account.test.ts',
    tests: ['an export is cut off when the database fails, and the log line holds no SQL'],
    reason:
      'workerd ends a failing response as if it were complete; only the truncated JSON and the log show it.',
  },
  {
    file: 'api/project-exports.test.ts',
    tests: ['an export is cut off when the user loses access during the download'],
    reason: 'The same.',
  },
  {
    file: 'database/pool.test.ts',
    tests: ['requests beyond the connections and the bounded queue are refused at once'],
    reason: 'Hyperdrive has the pool and its queue, not the worker.',
    waits: true,
  },
  {
    file: 'process/observability.test.ts',
    within: '/metrics',
    tests: [
      'is public text for Prometheus, within the limit of an address',
      'follows the rules of promtool check metrics',
      'counts requests by method, route and status, with how long they took',
      'shows statements in flight and waiting',
      'shows password hashes in flight and waiting',
      'counts the limits that clients reach, by name',
      'shows event loop delay, CPU time and memory',
      'counts open streams',
    ],
    reason:
      'Each isolate would count only for itself, and no request reaches all of them: 501, which names the metrics of Workers.',
  },
  {
    file: 'house/openapi.test.ts',
    within: 'the docs',
    tests: ['/docs', '/swagger/json', '/swagger/docs.js', '/swagger/swagger-ui-bundle.js'].map(
      (path) => `${path} is compressed for clients that accept it`,
    ),
    reason: 'Cloudflare compresses responses, not the worker.',
  },
  {
    file: 'security/bounds.test.ts',
    within: 'a password',
    tests: ['is normalized once, when an account is made and when it logs in'],
    reason: 'The test counts calls in its own process, which the worker is not.',
  },
  {
    file: 'process/durability.test.ts',
    within: 'while no synchronous standby answers',
    tests: [
      'its connections stay within twice the pool, reads are answered, and the log says why, once',
    ],
    reason: 'Hyperdrive has the pool, and a worker keeps no account of an outage.',
  },
];

export const fullNames = (some: readonly Exception[]) =>
  some.flatMap(({ within, tests }) => tests.map((test) => (within ? `${within} > ${test}` : test)));

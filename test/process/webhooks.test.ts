/** Two processes deliver webhooks while they are killed: nothing is missing, the order holds, doubles have equal ids. */
import { describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import { JWT_SECRET } from '../support/api.ts';
import { useDatabase } from '../support/cluster.ts';
import { freePort, makeFolder, start, useProcesses, waitFor } from '../support/process.ts';
import { ok, openReceiver } from '../support/receiver.ts';

useProcesses();

/** `WEBHOOK_CHANGES=10000` is the long form. */
const CHANGES = Number(process.env.WEBHOOK_CHANGES ?? 300);
const WRITERS = 20;
const HOOKS = 5;
const KILLS = 4;
const TIMEOUT_MS = CHANGES > 1000 ? 1_200_000 : 540_000;

const { url: DATABASE_URL } = await useDatabase();
const account = { username: 'ada', password: 'correct horse battery staple' };

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

async function call(url: string, path: string, body: object, token?: string): Promise<Json> {
  const answer = await fetch(url + path, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'idempotency-key': crypto.randomUUID(),
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  });
  return answer.json();
}

test(
  'kill -9 at any moment loses no event, keeps their order, and doubles only under one id',
  async () => {
    const environment = {
      ...{ DATABASE_URL, JWT_SECRET, RATE_LIMIT: 'off', WEBHOOK_ALLOW: '127.0.0.1' },
    };
    const serving = start(environment);
    const url = await serving.url();
    let deliverers = [start(environment), start(environment)];
    for (const one of deliverers) await one.url();
    await call(url, '/users/register', { ...account, email: 'ada@example.org' });
    const { access_token: token } = await call(url, '/users/login', account);
    const { id: projectId } = await call(url, '/projects/', { name: 'Kitchen' }, token);
    const receivers = await Promise.all(Array.from({ length: HOOKS }, () => openReceiver(ok)));
    const hooks: Json[] = [];
    for (const receiver of receivers)
      hooks.push(await call(url, '/users/me/webhooks', { url: receiver.url }, token));

    let written = 0;
    const writers = Array.from({ length: WRITERS }, async () => {
      while (written < CHANGES) {
        written += 1;
        const { id } = await call(url, `/tasks/projects/${projectId}`, { title: 'T' }, token);
        expect(id).toBeString();
      }
    });
    const killer = (async () => {
      for (let n = 0; n < KILLS; n += 1) {
        const soFar = receivers[0]?.received.length ?? 0;
        await waitFor('some are delivered', () => {
          const now = receivers[0]?.received.length ?? 0;
          return now > soFar + 5 || now >= CHANGES;
        });
        const [oldest, other] = deliverers as [(typeof deliverers)[0], (typeof deliverers)[0]];
        oldest.kill('SIGKILL');
        await oldest.ended;
        deliverers = [other, start(environment)];
        await deliverers[1]?.url();
      }
    })();
    await Promise.all([...writers, killer]);
    for (const receiver of receivers)
      await waitFor(
        'all arrive',
        () => new Set(receiver.received.map(({ id }) => id)).size >= CHANGES,
      );

    let doubled = 0;
    const first = firstsOf(receivers[0]?.received ?? []);
    for (const [n, { received, verify }] of receivers.entries()) {
      const firsts = firstsOf(received);
      // Each event once, in the order of the feed, which is one for all.
      expect(firsts.length).toBe(written);
      expect(firsts).toEqual(first);
      // What comes again comes right after itself, not later.
      const repeats = received.filter(({ id }, index) => id === received[index - 1]?.id);
      expect(received.length - firsts.length).toBe(repeats.length);
      doubled += repeats.length;
      for (const one of received.slice(0, 50)) verify(hooks[n].secret, one);
    }
    expect(doubled).toBeLessThanOrEqual(KILLS * HOOKS);
    if (process.env.WEBHOOK_CHANGES)
      console.log(
        `${written} changes to ${HOOKS} hooks: 0 missing, 0 out of order, ${doubled} doubled`,
      );
    for (const one of [serving, ...deliverers]) await one.stop();
    for (const receiver of receivers) await receiver.close();
  },
  TIMEOUT_MS,
);

/** The ids in the order in which they first came. */
const firstsOf = (received: readonly { id: string }[]) => [
  ...new Set(received.map(({ id }) => id)),
];

/**
 * Takes the place of Python's `standardwebhooks`, which npm does not have: the official library of JavaScript verifies.
 * It gets what Python's gets, and returns what that returns.
 */
const STANDARD_WEBHOOKS_PY = `
import json, subprocess

SCRIPT = """
const { Webhook } = await import(process.env.LIBRARY);
const { secret, body, headers } = JSON.parse(await Bun.stdin.text());
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
"""

class Webhook:
    def __init__(self, secret):
        self.secret = secret

    def verify(self, data, headers):
        given = {"secret": self.secret, "body": data.decode(), "headers": dict(headers)}
        verified = subprocess.run([${JSON.stringify(process.execPath)}, "-e", SCRIPT], input=json.dumps(given),
            capture_output=True, text=True)
        if verified.returncode != 0:
            raise Exception("not verified")
        return json.loads(verified.stdout)
`;

describe.each([
  ['webhook-receiver.ts', process.execPath],
  ['webhook_receiver.py', 'python3'],
])('the receiver that the docs show, %s', (name, program) => {
  test('takes each event once, and refuses what it cannot verify', async () => {
    const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
    const port = freePort();
    const folder = makeFolder();
    await Bun.write(join(folder, 'standardwebhooks.py'), STANDARD_WEBHOOKS_PY);
    const script = join(import.meta.dir, '../../examples', name);
    const child = Bun.spawn([program, script, String(port)], {
      env: {
        ...process.env,
        WEBHOOK_SECRET: secret,
        PYTHONPATH: folder,
        PYTHONDONTWRITEBYTECODE: '1',
        LIBRARY: Bun.resolveSync('standardwebhooks', import.meta.dir),
      },
      stdout: 'pipe',
    });
    try {
      const body = JSON.stringify({ action: 'task.created' });
      const at = new Date();
      const signature = new Webhook(secret).sign('event-1', at, body);
      const send = (signed: string) =>
        fetch(`http://127.0.0.1:${port}/`, {
          method: 'POST',
          body,
          headers: {
            'webhook-id': 'event-1',
            'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
            'webhook-signature': signed,
          },
        });
      await waitFor('it listens', () =>
        send(signature).then(
          ({ status }) => status === 204,
          () => false,
        ),
      );
      expect((await send(signature)).status).toBe(204);
      expect((await send('v1,AAAA')).status).toBe(401);
    } finally {
      child.kill();
    }
    expect(await new Response(child.stdout).text()).toBe('event-1 task.created\n');
  });
});

/**
 * Receives webhooks, verifies their signatures, and takes each event once:
 *
 *   WEBHOOK_SECRET=whsec_… bun examples/webhook-receiver.ts 8080
 *
 * An event comes again, under the same id, where an answer was lost: so the id is remembered together with the work.
 */
import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const webhook = new Webhook(process.env.WEBHOOK_SECRET ?? '');
const taken = new Set<string>();

const server = createServer(async (request, response) => {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const headers = request.headers as Record<string, string>;
  try {
    const event = webhook.verify(Buffer.concat(chunks).toString(), headers) as { action: string };
    const id = headers['webhook-id'] ?? '';
    if (!taken.has(id)) console.log(id, event.action);
    taken.add(id);
    response.writeHead(204).end();
  } catch {
    // Neither signed by us nor new enough.
    response.writeHead(401).end();
  }
});
server.listen(Number(process.argv[2] ?? 8080), '127.0.0.1');

/** A program that webhooks are delivered to: it answers as it is told, and keeps what it gets. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Webhook } from 'standardwebhooks';

// biome-ignore lint/suspicious/noExplicitAny: events are looked into freely.
type Json = any;

export interface Received {
  id: string;
  headers: Record<string, string>;
  body: string;
  event: Json;
  atMs: number;
}

type Answer = (request: IncomingMessage, response: ServerResponse, received: Received) => void;

export interface Receiver {
  readonly url: string;
  readonly received: Received[];
  /** How it answers from now on. */
  answer: Answer;
  /** Verifies with the official library. @throws where the signature is none of this secret. */
  verify(secret: string, received: Received): Json;
  close(): Promise<void>;
}

export const ok: Answer = (_, response) => void response.writeHead(204).end();
export const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    void response.writeHead(code, headers).end('no');

export async function openReceiver(answer: Answer = ok): Promise<Receiver> {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (text) => {
      body += text;
    });
    request.on('end', () => {
      const headers = request.headers as Record<string, string>;
      const one = {
        id: headers['webhook-id'] ?? '',
        headers,
        body,
        event: JSON.parse(body),
        atMs: performance.now(),
      };
      received.push(one);
      receiver.answer(request, response, one);
    });
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const receiver: Receiver = {
    url: `http://127.0.0.1:${port}/hook`,
    received,
    answer,
    verify: (secret, { body, headers }) => new Webhook(secret).verify(body, headers),
    async close() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
  return receiver;
}

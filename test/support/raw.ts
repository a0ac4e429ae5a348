/** HTTP by hand, for what fetch would put right. */
import { connect } from 'node:net';

interface RawAnswer {
  status: number;
  headers: Headers;
  body: string;
}

/** Far beyond what an answer takes, also on a busy machine. */
const TIMEOUT_MS = 60_000;

/** Sends bytes as they are and reads one answer, to the end its Content-Length or the connection gives. */
export function exchange(url: string, bytes: string | Uint8Array): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  return new Promise((done, fail) => {
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    let received = '';
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      received += chunk;
      const answer = parse(received);
      const length = Number(answer?.headers.get('content-length') ?? Number.POSITIVE_INFINITY);
      if (answer && (answer.body.length >= length || bytes.toString().startsWith('HEAD')))
        socket.end(() => done(answer));
    });
    socket.on('end', () => {
      const answer = parse(received);
      answer ? done(answer) : fail(new Error(`no answer but ${JSON.stringify(received)}`));
    });
    socket.on('error', fail);
  });
}

function parse(text: string): RawAnswer | undefined {
  const end = text.indexOf('\r\n\r\n');
  if (end === -1) return undefined;
  const [start = '', ...lines] = text.slice(0, end).split('\r\n');
  const headers = new Headers(
    lines.map((line) => line.split(/:\s*(.*)/s).slice(0, 2) as [string, string]),
  );
  return { status: Number(start.split(' ')[1]), headers, body: text.slice(end + 4) };
}

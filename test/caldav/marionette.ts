/** Marionette, the remote protocol of Gecko: runs scripts in a Thunderbird without a window. */
import { connect, type Socket } from 'node:net';

interface Answer {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface Marionette {
  /** Runs the body of an async function with the privileges of Thunderbird itself. Returns what it returns, as JSON. */
  run(script: string, ...args: unknown[]): Promise<unknown>;
  close(): void;
}

/** Connects to a Thunderbird that was started with `--marionette`, and opens a session. */
export async function openMarionette(port: number): Promise<Marionette> {
  const socket = await connectTo(port);
  const answers = new Map<number, Answer>();
  let rest = Buffer.alloc(0);
  let greeted = () => {};
  const greeting = new Promise<void>((resolve) => {
    greeted = resolve;
  });
  socket.on('data', (data: Buffer) => {
    rest = Buffer.concat([rest, data]);
    for (;;) {
      // A message is its length in bytes, a colon, and JSON.
      const colon = rest.indexOf(':');
      const length = Number(rest.subarray(0, colon).toString());
      if (colon === -1 || rest.length < colon + 1 + length) return;
      const message = JSON.parse(rest.subarray(colon + 1, colon + 1 + length).toString());
      rest = rest.subarray(colon + 1 + length);
      if (!Array.isArray(message)) greeted();
      else {
        const [, id, error, result] = message;
        const answer = answers.get(id);
        if (error) answer?.reject(new Error(`${error.error}: ${error.message}`));
        else answer?.resolve(result);
      }
    }
  });
  let count = 0;
  const send = (command: string, parameters: object) => {
    count += 1;
    const text = JSON.stringify([0, count, command, parameters]);
    socket.write(`${Buffer.byteLength(text)}:${text}`);
    return new Promise<unknown>((resolve, reject) => answers.set(count, { resolve, reject }));
  };
  await greeting;
  await send('WebDriver:NewSession', {});
  await send('WebDriver:SetTimeouts', { script: 60_000 });
  await send('Marionette:SetContext', { value: 'chrome' });
  return {
    async run(script, ...args) {
      const body = `const done = arguments[arguments.length - 1]; const args = [...arguments].slice(0, -1);
        (async () => { ${script} })().then((value) => done({ value }), (error) => done({ error: String(error) + ' ' + error?.stack }));`;
      const result = (await send('WebDriver:ExecuteAsyncScript', { script: body, args })) as {
        value: { value?: unknown; error?: string };
      };
      if (result.value.error !== undefined) throw new Error(result.value.error);
      return result.value.value;
    },
    close: () => void socket.destroy(),
  };
}

/** Connects once the program listens. */
async function connectTo(port: number): Promise<Socket> {
  for (let tries = 0; ; tries += 1) {
    const socket = connect({ port, host: '127.0.0.1' });
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    if (isOpen) return socket;
    if (tries === 300) throw new Error('Thunderbird does not listen.');
    await Bun.sleep(200);
  }
}

/** Sends the same requests to any server with `wrk`, and reads what it measured. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface LoadRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: string;
}

export interface LoadResult {
  requests: number;
  seconds: number;
  /** Responses that are not 2xx, and requests without a response. */
  failed: number;
  p50_ms: number;
  p99_ms: number;
}

/** Checks that wrk is installed, before a bench begins. @throws where it is not. */
export function requireLoadTool() {
  if (!Bun.which('wrk')) throw new Error('wrk sends the load: install it (apt-get install wrk)');
}

/** Sends the requests in turn, over and over, on this many connections; each waits for its response. */
export async function load(
  url: string,
  requests: LoadRequest[],
  connections: number,
  seconds: number,
): Promise<LoadResult> {
  const folder = await mkdtemp(join(tmpdir(), 'mantou-load-'));
  try {
    return await runWrk(folder, url, requests, connections, seconds);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Returns a string literal of Lua. */
const quoted = (text: string) =>
  `"${text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\r', '\\r')}"`;

/** Returns the bytes of the request (RFC 9112 §2.1). */
export function messageOf(url: string, { method, path, headers, body = '' }: LoadRequest): string {
  const length = body === '' ? {} : { 'Content-Length': Buffer.byteLength(body) };
  const fields = Object.entries({ Host: new URL(url).host, ...headers, ...length });
  return `${method} ${path} HTTP/1.1\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`;
}

async function runWrk(
  folder: string,
  url: string,
  requests: LoadRequest[],
  connections: number,
  seconds: number,
): Promise<LoadResult> {
  const script = join(folder, 'requests.lua');
  await writeFile(
    script,
    `local messages = {
${requests.map((one) => quoted(messageOf(url, one))).join(',\n')}
}
local sent = 0
function request()
  sent = sent + 1
  return messages[sent % #messages + 1]
end
function done(summary, latency)
  local errors = summary.errors
  print(string.format('{"requests":%d,"seconds":%f,"failed":%d,"p50_ms":%f,"p99_ms":%f}', summary.requests,
    summary.duration / 1e6, errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
`,
  );
  const options = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '30s', '-s', script];
  const printed = await Bun.$`wrk ${options} ${url}`.text();
  return JSON.parse(printed.trim().split('\n').at(-1) ?? '') as LoadResult;
}

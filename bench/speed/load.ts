/**
 * Sends the same requests to whatever serves them, with `wrk`, or with autocannon where that is not installed, and
 * reads what it found.
 */
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
  /** Answers that were not 2xx, and requests without one. */
  failed: number;
  p50_ms: number;
  p99_ms: number;
}

export const load_tool = Bun.which('wrk') ? 'wrk' : 'autocannon';

/** One way to do what `load` does. @param folder for what it has to write down. */
type Run = (folder: string, ...asked: Parameters<typeof load>) => Promise<LoadResult>;

/** Sends the requests in turn, over and over, on so many connections at once. */
export async function load(
  url: string,
  requests: LoadRequest[],
  connections: number,
  seconds: number,
): Promise<LoadResult> {
  const folder = await mkdtemp(join(tmpdir(), 'mantou-load-'));
  try {
    const run = load_tool === 'wrk' ? runWrk : runAutocannon;
    return await run(folder, url, requests, connections, seconds);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A string as Lua reads it. */
const quoted = (text: string) =>
  `"${text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\r', '\\r')}"`;

/** RFC 9112 §2.1. */
function messageOf(url: string, { method, path, headers, body = '' }: LoadRequest): string {
  const length = body === '' ? {} : { 'Content-Length': Buffer.byteLength(body) };
  const fields = Object.entries({ Host: new URL(url).host, ...headers, ...length });
  return `${method} ${path} HTTP/1.1\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`;
}

const runWrk: Run = async (folder, url, requests, connections, seconds) => {
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
};

const runAutocannon: Run = async (folder, url, requests, connections, seconds) => {
  const file = join(folder, 'options.json');
  await writeFile(
    file,
    JSON.stringify({ url, connections, duration: seconds, timeout: 30, requests }),
  );
  // A process of its own, so that it is no part of what it measures.
  const found = await Bun.$`${process.execPath} -e ${AUTOCANNON} ${file}`.json();
  return {
    requests: found.requests.total,
    seconds: found.duration,
    failed: found.non2xx + found.errors,
    p50_ms: found.latency.p50,
    p99_ms: found.latency.p99,
  };
};

const AUTOCANNON = `
  const { default: autocannon } = await import('autocannon');
  console.log(JSON.stringify(await autocannon(await Bun.file(process.argv.at(-1)).json())));
`;

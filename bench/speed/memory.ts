/** The memory of a server after very many requests. */
import type { Person } from './data.ts';
import { load } from './load.ts';
import { requestsOf } from './mixes.ts';
import { type Running, usageOf } from './servers.ts';

const AFTER = [10_000, 100_000, 1_000_000];
const CLIENTS = 32;

/** Sends a million requests, of which nine in ten read. Prints and returns the memory of the process on the way, in MiB. */
export async function measureMemory({ url, pid }: Running, people: readonly Person[]) {
  const requests = requestsOf('blend', people);
  const found: { requests: number; memory_mib: number }[] = [];
  let sent = 0;
  for (const target of AFTER) {
    while (sent < target)
      sent += (await load(url, requests, CLIENTS, target - sent > 50_000 ? 10 : 1)).requests;
    const memoryMib = (await usageOf(pid))?.memory_mib ?? Number.NaN;
    found.push({ requests: sent, memory_mib: memoryMib });
    console.log(`after ${sent} requests: ${memoryMib.toFixed(0)} MiB`);
  }
  return found;
}

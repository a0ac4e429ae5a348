/** Which request the work belongs to that is under way, so that the pool can share its connections among clients. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { requestState } from '../http/request-state.ts';

const requests = new AsyncLocalStorage<Request>();

/** Runs the work of a request. */
export const inRequest = <T>(request: Request, work: () => T): T => requests.run(request, work);

/** Returns the user of the request, or the address where there is no user yet; undefined for work of the process itself. */
export function currentClient(): string | undefined {
  const request = requests.getStore();
  if (request === undefined) return undefined;
  const { user, clientIp } = requestState(request);
  return user?.id ?? clientIp ?? 'unknown address';
}

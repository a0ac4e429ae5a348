/** The audit log: one line for each act, with its user and address. It holds no password and no token. */
import { Elysia } from 'elysia';
import type { ClientInfo } from '../handlers/sessions.ts';
import { clientIp } from '../http/client-ip.ts';
import type { Platform } from '../platform.ts';

const USER_AGENT_LENGTH_MAX = 255;

/** Gives routes `audit(event, fields)`, and `device` with the user agent and address of the client. */
export const audit = (platform: Platform) =>
  new Elysia({ name: 'audit' }).derive({ as: 'scoped' }, ({ request, set }) =>
    auditOf(platform, { request, set }),
  );

interface AuditedContext {
  request: Request;
  set: { headers: Record<string, unknown> };
}

export function auditOf(platform: Platform, { request, set }: AuditedContext) {
  const device: ClientInfo = {
    user_agent: request.headers.get('user-agent')?.slice(0, USER_AGENT_LENGTH_MAX) ?? null,
    // A getter, because health checks do not come through the trusted proxies, and the log would warn of each.
    get address() {
      return clientIp(platform, request) ?? null;
    },
  };
  return {
    device,
    audit: (event: string, fields: Record<string, unknown>) =>
      platform.log('info', event, {
        request_id: set.headers['x-request-id'],
        address: device.address,
        ...fields,
      }),
  };
}

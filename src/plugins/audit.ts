/** What security has to know afterwards: who did what from where, one line each. Never a password or a token. */
import { Elysia } from 'elysia';
import type { Device } from '../handlers/sessions.ts';
import type { Platform } from '../platform.ts';
import { findClientAddress } from './client-address.ts';

const USER_AGENT_LENGTH_MAX = 255;

/** Gives routes `audit(event, fields)` and `device`, from where the request comes. */
export const audit = (platform: Platform) =>
  new Elysia({ name: 'audit' }).derive({ as: 'scoped' }, ({ request, set }) => {
    const device: Device = {
      user_agent: request.headers.get('user-agent')?.slice(0, USER_AGENT_LENGTH_MAX) ?? null,
      address: findClientAddress(platform, request) ?? null,
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
  });

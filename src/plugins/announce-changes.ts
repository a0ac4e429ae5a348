import { Elysia } from 'elysia';
import type { ChangeStream } from '../handlers/change-stream.ts';
import { READING_METHODS } from '../http/dav.ts';
import { requestState } from '../http/request-state.ts';

/** Wakes the change stream after each answered write that can record an event; a log-in, for example, records none. */
export const announceChanges = (changes: ChangeStream) =>
  new Elysia({ name: 'announce-changes' }).onAfterResponse(
    { as: 'global' },
    ({ request, set, route }) => {
      const { method } = request;
      if (READING_METHODS.includes(method) || method === 'OPTIONS') return;
      const canRecordEvents =
        /^\/(projects|tasks|comments|invitations|dav)\b/.test(route ?? '') ||
        route === '/users/me' ||
        requestState(request).hasWritten;
      if (canRecordEvents && Number(set.status ?? 200) < 300) changes.notify();
    },
  );

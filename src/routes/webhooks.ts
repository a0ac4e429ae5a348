import { Elysia } from 'elysia';
import { Problem } from '../errors/problem.ts';
import { NOT_SENT, type WebhookDeliverer } from '../handlers/webhook-delivery.ts';
import {
  createWebhook,
  deleteWebhook,
  listWebhookDeliveries,
  listWebhooks,
  patchWebhook,
  readWebhook,
  replayWebhook,
  rotateWebhookSecret,
} from '../handlers/webhooks.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/default-headers.ts';
import type { SessionRoutes } from '../plugins/route-groups.ts';
import { Nothing } from '../schemas/types/object.ts';
import {
  Webhook,
  WebhookCreate,
  WebhookCreated,
  WebhookDelivery,
  WebhookDeliveryPage,
  WebhookListQuery,
  WebhookPage,
  WebhookPatch,
  WebhookPath,
  WebhookReplay,
  WebhookRotation,
  WebhookSecret,
} from '../schemas/webhooks.ts';

export const webhooks = (
  { database: db, settings, sendWebhook, subscribe }: Platform,
  group: SessionRoutes,
  deliverer: WebhookDeliverer,
) => {
  const rules = {
    production: settings.production,
    retentionSeconds: settings.eventsRetentionSeconds,
  };
  return new Elysia({ tags: ['Webhooks'] })
    .use(group)
    .onBeforeHandle(() => {
      if (!sendWebhook || !subscribe) throw new Problem('not_implemented', { detail: NOT_SENT });
    })
    .get('/users/me/webhooks', ({ user, query }) => listWebhooks(db, user, query, rules), {
      query: WebhookListQuery,
      response: { 200: WebhookPage },
      detail: operation('listWebhooks', 'List your webhooks', {
        problems: ['forbidden', 'invalid_cursor', 'not_implemented'],
      }),
    })
    .post(
      '/users/me/webhooks',
      async ({ user, body, set, audit }) => {
        const created = await createWebhook(db, user, body, rules);
        audit('webhook_created', { user_id: user.id, webhook_id: created.id });
        deliverer.wake();
        set.status = 201;
        return created;
      },
      {
        body: WebhookCreate,
        response: { 201: WebhookCreated },
        detail: operation('createWebhook', 'Create a webhook', {
          description:
            'Every change that you may see is sent to `url` by POST, in order and at least once: one `Event` as JSON, as `GET /changes` has it, signed as Standard Webhooks 1.0 says (`webhook-id`, `webhook-timestamp`, `webhook-signature`). Any 2xx within 15 seconds counts as delivered. Everything else is tried again, with growing pauses of 5 seconds to 12 hours, for 5 days; then the webhook is disabled, and keeps its place. `Retry-After` is honoured, 410 disables at once, redirects are not followed. The secret is returned once, in this response.',
          problems: ['forbidden', 'conflict', 'not_implemented'],
        }),
      },
    )
    .get(
      '/webhooks/:webhook_id',
      ({ user, params }) => readWebhook(db, user, params.webhook_id, rules),
      {
        params: WebhookPath,
        response: { 200: Webhook },
        detail: operation('readWebhook', 'Get a webhook', {
          problems: ['forbidden', 'not_found', 'not_implemented'],
        }),
      },
    )
    .patch(
      '/webhooks/:webhook_id',
      async ({ user, params, body }) => {
        const changed = await patchWebhook(db, user, params.webhook_id, body, rules);
        deliverer.wake();
        return changed;
      },
      {
        params: WebhookPath,
        body: WebhookPatch,
        response: { 200: Webhook },
        detail: operation('patchWebhook', 'Update a webhook', {
          description:
            'A webhook that is set `active` goes on where it stopped. Where the next events are not kept any more, it goes on with the oldest that are.',
          problems: ['forbidden', 'not_found', 'not_implemented'],
        }),
      },
    )
    .delete(
      '/webhooks/:webhook_id',
      async ({ user, params, set, audit }) => {
        await deleteWebhook(db, user, params.webhook_id);
        audit('webhook_deleted', { user_id: user.id, webhook_id: params.webhook_id });
        return noContent(set);
      },
      {
        params: WebhookPath,
        response: { 204: Nothing },
        detail: operation('deleteWebhook', 'Delete a webhook', {
          problems: ['forbidden', 'not_found', 'not_implemented'],
        }),
      },
    )
    .get(
      '/webhooks/:webhook_id/deliveries',
      ({ user, params, query }) => listWebhookDeliveries(db, user, params.webhook_id, query),
      {
        params: WebhookPath,
        query: WebhookListQuery,
        response: { 200: WebhookDeliveryPage },
        detail: operation('listWebhookDeliveries', 'List the deliveries of a webhook', {
          description: 'The latest 200, newest first: one item an event, with its last try.',
          problems: ['forbidden', 'not_found', 'invalid_cursor', 'not_implemented'],
        }),
      },
    )
    .post(
      '/webhooks/:webhook_id/ping',
      ({ user, params }) => deliverer.ping(user, params.webhook_id),
      {
        params: WebhookPath,
        response: { 200: WebhookDelivery },
        detail: operation('pingWebhook', 'Ping a webhook', {
          description:
            'Sends an event with the action `webhook.ping` and returns what came of it. Where the receiver answers, the events that wait are tried again at once.',
          problems: ['forbidden', 'not_found', 'overloaded', 'not_implemented'],
        }),
      },
    )
    .post(
      '/webhooks/:webhook_id/replay',
      async ({ user, params, body }) => {
        const replayed = await replayWebhook(db, user, params.webhook_id, body, rules);
        deliverer.wake();
        return replayed;
      },
      {
        params: WebhookPath,
        body: WebhookReplay,
        response: { 200: Webhook },
        detail: operation('replayWebhook', 'Deliver events again', {
          description: 'Every event after `since` is delivered again, with the same `webhook-id`.',
          problems: [
            'forbidden',
            'not_found',
            'invalid_cursor',
            'cursor_expired',
            'not_implemented',
          ],
        }),
      },
    )
    .post(
      '/webhooks/:webhook_id/rotate-secret',
      async ({ user, params, body, audit }) => {
        const rotated = await rotateWebhookSecret(db, user, params.webhook_id, body);
        audit('webhook_secret_rotated', { user_id: user.id, webhook_id: params.webhook_id });
        deliverer.wake();
        return rotated;
      },
      {
        params: WebhookPath,
        body: WebhookRotation,
        response: { 200: WebhookSecret },
        detail: operation('rotateWebhookSecret', 'Rotate the secret of a webhook', {
          description:
            'For 24 hours deliveries carry two signatures, of the new and of the previous secret.',
          problems: ['forbidden', 'not_found', 'not_implemented'],
        }),
      },
    );
};

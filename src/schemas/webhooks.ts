import { type Static, Type } from '@sinclair/typebox';
import { actions, webhookDisabledReasons, webhookErrors, webhookStates } from '../db/schema.ts';
import { EVENT_CURSOR_LENGTH_MAX } from './events.ts';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { Nullable, Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { Page, pageParameters } from './types/page.ts';
import { Text } from './types/text.ts';

const URL_LENGTH_MAX = 2000;
const NAME_LENGTH_MAX = 120;

const url = Text({
  minLength: 1,
  maxLength: URL_LENGTH_MAX,
  pattern: '^https?://[!-~]+$',
  expected: 'a URL that begins with https://',
  description:
    'Where the events go, by POST. In production only `https`. Addresses inside the network of the server are refused when an event is delivered.',
  examples: ['https://example.org/hooks/mantou'],
});

const name = Text({
  minLength: 1,
  maxLength: NAME_LENGTH_MAX,
  visible: true,
  description: 'What the webhook is for.',
  examples: ['chat'],
});

const wantedActions = Type.Array(OneOf(actions), {
  minItems: 1,
  maxItems: actions.length,
  uniqueItems: true,
  description: 'The actions to deliver.',
  examples: [['task.created', 'task.updated']],
});

const secret = Text({
  minLength: 38,
  maxLength: 96,
  pattern: '^whsec_[A-Za-z0-9+/]+={0,2}$',
  expected: '`whsec_` and 24 to 64 bytes in base64',
  description: 'Signs the deliveries (Standard Webhooks 1.0). Omitted: the server makes one.',
});

const since = Text({
  minLength: 1,
  maxLength: EVENT_CURSOR_LENGTH_MAX,
  description: 'The `cursor` of an event or the `next_cursor` of a page of `GET /changes`.',
  examples: ['WyJhIiwiYiIsMTJd'],
});

export const WebhookCreate = StrictObject('WebhookCreate', {
  url,
  name: Type.Optional(Nullable(name)),
  project_id: Type.Optional(
    Nullable(Id('Deliver the events of this project only.'), { examples: [null] }),
  ),
  actions: Type.Optional(Nullable(wantedActions)),
  secret: Type.Optional(secret),
});
export type WebhookCreate = Static<typeof WebhookCreate>;

export const WebhookPatch = StrictObject('WebhookPatch', {
  url: Type.Optional(url),
  name: Type.Optional(Nullable(name)),
  project_id: Type.Optional(
    Nullable(Id('Deliver the events of this project only.'), { examples: [null] }),
  ),
  actions: Type.Optional(Nullable(wantedActions)),
  state: Type.Optional(
    OneOf(['active', 'paused'], {
      description:
        '`active` continues where the webhook stopped, also one that was disabled. `paused` keeps its place; a change that is made within a second may still be sent.',
      examples: ['active'],
    }),
  ),
});
export type WebhookPatch = Static<typeof WebhookPatch>;

const lastFailure = StrictObject('WebhookFailure', {
  at: Instant('When.'),
  status: Nullable(
    Type.Integer({
      description: 'The status of the response; null: there was none.',
      examples: [500],
    }),
  ),
  error: OneOf(webhookErrors, {
    description:
      '`unreachable`: no connection, for whatever reason, an address that is not allowed among them. `status`: a response other than 2xx.',
    examples: ['status'],
  }),
});

const fields = {
  id: Id('The webhook.'),
  url,
  name: Nullable(name),
  project_id: Nullable(Id('Only the events of this project are delivered; null: of all.')),
  actions: Nullable(wantedActions),
  state: OneOf(webhookStates, {
    description: '`active` delivers. `paused` and `disabled` keep their place.',
    examples: ['active'],
  }),
  disabled_reason: Nullable(
    OneOf(webhookDisabledReasons, {
      description:
        '`gone`: the receiver answered 410. `failing`: no delivery succeeded for 5 days. `cursor_expired`: the next events are not kept any more.',
    }),
    { examples: [null] },
  ),
  cursor: Type.String({
    description: 'The place in your feed: every event up to here was delivered or is not wanted.',
    examples: ['WyJhIiwiYiIsMTJd'],
  }),
  pending: Type.Integer({
    minimum: 0,
    maximum: 200,
    description: 'Events that wait for delivery; 200 means 200 or more.',
    examples: [0],
  }),
  missed: Type.Boolean({
    description:
      'Whether events after `cursor` are not kept any more, so that they cannot be delivered.',
    examples: [false],
  }),
  last_success_at: Nullable(Instant('When the last delivery succeeded; null: never.')),
  last_failure: Nullable(lastFailure, { description: 'The last try that failed; null: none.' }),
  created_at: Instant('When the webhook was created.'),
  updated_at: Instant('When the webhook was last changed by you.'),
};

export const Webhook = ResponseObject('Webhook', fields);
export type Webhook = Static<typeof Webhook>;

const secretShown = Type.String({
  description: 'Verifies the signatures of the deliveries. Returned only in this response.',
  examples: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
});

export const WebhookCreated = StrictObject('WebhookCreated', { ...fields, secret: secretShown });
export type WebhookCreated = Static<typeof WebhookCreated>;

export const WebhookPage = Page('WebhookPage', Webhook);
export type WebhookPage = Static<typeof WebhookPage>;

export const WebhookSecret = StrictObject('WebhookSecret', {
  secret: secretShown,
  previous_secret_until: Instant('Until then deliveries are signed with the previous secret too.'),
});
export type WebhookSecret = Static<typeof WebhookSecret>;

export const WebhookDelivery = ResponseObject('WebhookDelivery', {
  event_id: Id('The event, and the `webhook-id` of each of its tries.'),
  action: Type.String({
    description: 'The action of the event; `webhook.ping` for a ping.',
    examples: ['task.updated'],
  }),
  tries: Type.Integer({ minimum: 1, description: 'How often it was sent.', examples: [1] }),
  status: Nullable(
    Type.Integer({ description: 'The status of the last response; null: none.', examples: [204] }),
  ),
  error: Nullable(
    OneOf(webhookErrors, { description: 'Why the last try failed; null: it did not.' }),
    {
      examples: [null],
    },
  ),
  duration_ms: Nullable(
    Type.Integer({ minimum: 0, description: 'How long the last try took.', examples: [42] }),
  ),
  response: Nullable(
    Type.String({
      description: 'The first KiB of the last response; null: none.',
      examples: ['ok'],
    }),
  ),
  at: Instant('When the last try ended.'),
});
export type WebhookDelivery = Static<typeof WebhookDelivery>;

export const WebhookDeliveryPage = Page('WebhookDeliveryPage', WebhookDelivery);
export type WebhookDeliveryPage = Static<typeof WebhookDeliveryPage>;

export const WebhookReplay = StrictObject('WebhookReplay', { since });
export type WebhookReplay = Static<typeof WebhookReplay>;

export const WebhookRotation = StrictObject('WebhookRotation', { secret: Type.Optional(secret) });
export type WebhookRotation = Static<typeof WebhookRotation>;

export const WebhookPath = Parameters({ webhook_id: Id('The webhook.') });
export const WebhookListQuery = Parameters(pageParameters);

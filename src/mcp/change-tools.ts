/** What has changed, and who changed it. */
import { type Static, Type } from '@sinclair/typebox';
import { listEvents, readChanges } from '../handlers/events.ts';
import { findPeople } from '../handlers/task-people.ts';
import type { Event } from '../schemas/events.ts';
import type { Caller } from './caller.ts';
import { resolveProject } from './names.ts';
import { closed, cursor, integer, optional, projectName } from './pieces.ts';
import { quote } from './quote.ts';
import { projectNames } from './task-view.ts';
import { defineTool } from './tool.ts';

const PAGE_MAX = 100;
const PAGE_DEFAULT = 30;

const text = Type.String();
const Change = closed({
  at: text,
  action: text,
  by: Type.Optional(text),
  token: Type.Optional(text),
  project: text,
  subject_id: text,
  version: Type.Integer(),
  fields: Type.Object({}, { additionalProperties: true }),
});

export const listChangesTool = defineTool('list_changes', {
  description:
    'With project: its history, newest first. Without: what changed anywhere since a cursor, oldest first; the first call returns a cursor.',
  effect: 'reads',
  input: closed({
    project: optional(projectName, 'Name or id'),
    cursor,
    limit: optional(integer(1, PAGE_MAX)),
  }),
  output: closed({ changes: Type.Array(Change), next_cursor: Type.Optional(text) }),
  async run(caller, { project, cursor, limit = PAGE_DEFAULT }) {
    const { db, user, eventsRetentionSeconds: retention } = caller;
    const { items, next_cursor } =
      project === undefined
        ? await readChanges(db, user, { since: cursor, limit }, retention)
        : await listEvents(
            db,
            user,
            await resolveProject(caller, project),
            { cursor, limit },
            retention,
          );
    const changes = await viewChanges(caller, items);
    const next = next_cursor === null ? '' : ` Next cursor: ${next_cursor}`;
    return {
      data: { changes, ...(next_cursor !== null && { next_cursor }) },
      text: [`${changes.length} changes.${next}`, ...changes.map(changeLine)].join('\n'),
    };
  },
});

type Change = Static<typeof Change>;

async function viewChanges(caller: Caller, events: readonly Event[]): Promise<Change[]> {
  const [people, projects] = await Promise.all([
    findPeople(caller.db, new Set(events.flatMap(({ actor_id }) => actor_id ?? []))),
    projectNames(caller, new Set(events.map(({ project_id }) => project_id))),
  ]);
  return events.map(
    ({ at, action, actor_id, actor_token, project_id, subject_id, version, fields }) => {
      const by = actor_id === null ? undefined : (people.get(actor_id)?.username ?? actor_id);
      return {
        at,
        action,
        ...(by !== undefined && { by }),
        ...(actor_token !== null && { token: actor_token }),
        project: projects.get(project_id) ?? project_id,
        subject_id,
        version,
        fields,
      };
    },
  );
}

function changeLine({ at, action, by, token, project, subject_id, fields }: Change): string {
  const changed = Object.entries(fields).map(([name, value]) => `${name} ${shown(value)}`);
  return [
    `- ${at} · ${action}${by ? ` by @${by}` : ''}${token ? ` with ${quote(token)}` : ''}`,
    `in ${quote(project)}`,
    `id ${subject_id}`,
    ...changed,
  ].join(' · ');
}

const TEXT_LENGTH_MAX = 200;

/** Returns a value on one line; a long text is cut before its closing quote. */
const shown = (value: unknown) =>
  typeof value === 'string' && value.length > TEXT_LENGTH_MAX
    ? quote(`${value.slice(0, TEXT_LENGTH_MAX)}…`)
    : quote(value);

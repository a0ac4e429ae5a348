/** Tools about projects and their members. */
import { Type } from '@sinclair/typebox';
import type { Role } from '../db/schema.ts';
import { listMembers } from '../handlers/members.ts';
import { createProject, listProjects } from '../handlers/projects.ts';
import { ProjectCreate, ProjectListQuery } from '../schemas/projects.ts';
import { Text } from '../schemas/types/text.ts';
import { callKey } from './call-key.ts';
import { resolveProject } from './names.ts';
import { closed, cursor, nonNull, optional, projectName } from './pieces.ts';
import { quote, quoteLines } from './quote.ts';
import { defineTool } from './tool.ts';

const PAGE = 100;

const text = Type.String();
const ProjectView = closed({
  id: text,
  name: text,
  description: Type.Optional(text),
  role: text,
  archived: Type.Boolean(),
});

interface ProjectRow {
  id: string;
  name: string;
  description: string | null;
  role: Role;
  archived_at: string | null;
}

const viewProject = ({ id, name, description, role, archived_at }: ProjectRow) => ({
  id,
  name,
  ...(description !== null && { description }),
  role,
  archived: archived_at !== null,
});

const projectLine = ({ id, name, description, role, archived_at }: ProjectRow) =>
  [
    `- ${quote(name)} · ${role}${archived_at === null ? '' : ' · archived'} · id ${id}`,
    ...(description ? [quoteLines(description)] : []),
  ].join('\n');

const { q, archived } = ProjectListQuery.properties;

export const listProjectsTool = defineTool('list_projects', {
  description: 'List your projects, with your role in each.',
  effect: 'reads',
  input: closed({
    q: optional(q, 'Words in name or description'),
    archived: Type.Optional({ ...archived, description: undefined }),
    cursor,
  }),
  output: closed({ projects: Type.Array(ProjectView), next_cursor: Type.Optional(text) }),
  async run({ db, user }, { q, archived = 'false', cursor }) {
    const query = { q, archived, cursor, sort: 'name' as const, limit: PAGE };
    const { items, next_cursor } = await listProjects(db, user, query);
    const more = next_cursor === null ? '' : ` There are more: cursor ${next_cursor}`;
    return {
      data: { projects: items.map(viewProject), ...(next_cursor !== null && { next_cursor }) },
      text: [`${items.length} projects.${more}`, ...items.map(projectLine)].join('\n'),
    };
  },
});

export const createProjectTool = defineTool('create_project', {
  description: 'Create a project. Replayed as create_tasks.',
  effect: 'writes',
  input: closed({
    name: ProjectCreate.properties.name,
    description: optional(nonNull(ProjectCreate.properties.description)),
    key: Type.Optional(Text({ minLength: 1, maxLength: 100 })),
  }),
  output: closed({ id: text, name: text, replayed: Type.Boolean() }),
  async run({ db, user }, { key, ...fields }) {
    const request = await callKey('create_project', fields, key);
    const { row, replayed } = await createProject(db, user, fields, request);
    const sentence = replayed ? 'Nothing new: the same call created it before.' : 'Created.';
    return {
      data: { id: row.id, name: row.name, replayed },
      text: `${sentence}\n${projectLine(row)}`,
    };
  },
});

export const listMembersTool = defineTool('list_members', {
  description: 'List the members of a project: who can be assigned.',
  effect: 'reads',
  input: closed({ project: { ...projectName, description: 'Name or id' }, cursor }),
  output: closed({
    members: Type.Array(closed({ id: text, username: text, role: text })),
    next_cursor: Type.Optional(text),
  }),
  async run(caller, { project, cursor }) {
    const id = await resolveProject(caller, project);
    const query = { limit: PAGE, cursor };
    const { items, next_cursor } = await listMembers(caller.db, caller.user, id, query);
    const members = items.map(({ user_id, username, role }) => ({ id: user_id, username, role }));
    const more = next_cursor === null ? '' : ` There are more: cursor ${next_cursor}`;
    return {
      data: { members, ...(next_cursor !== null && { next_cursor }) },
      text: [
        `${members.length} members.${more}`,
        ...members.map((one) => `- @${one.username} · ${one.role} · id ${one.id}`),
      ].join('\n'),
    };
  },
});

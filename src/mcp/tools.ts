/** All tools, in the order in which a model reads them. */
import type { CurrentUser } from '../schemas/current-user.ts';
import { listChangesTool } from './change-tools.ts';
import { commentTool } from './comment-tools.ts';
import { createProjectTool, listMembersTool, listProjectsTool } from './project-tools.ts';
import { fetchTool, search } from './search-tools.ts';
import { findTasks, readTasks } from './task-reads.ts';
import { completeTasks, createTasks, deleteTasks, moveTasks, updateTasks } from './task-writes.ts';
import { describeTool, type Tool } from './tool.ts';

export const tools: readonly Tool[] = [
  findTasks,
  readTasks,
  createTasks,
  updateTasks,
  completeTasks,
  moveTasks,
  deleteTasks,
  commentTool,
  listProjectsTool,
  createProjectTool,
  listMembersTool,
  listChangesTool,
  search,
  fetchTool,
];

type Description = ReturnType<typeof describeTool>;

/** Made once, with the first list: a client asks for all of them whenever it begins. */
const descriptions = new Map<Tool, Description>();

function descriptionOf(tool: Tool): Description {
  const description = descriptions.get(tool) ?? describeTool(tool);
  descriptions.set(tool, description);
  return description;
}

/** Returns the tools that the credential may call, as `tools/list` has them. */
export const listTools = ({ scopes }: Pick<CurrentUser, 'scopes'>) =>
  tools.filter(({ effect }) => effect === 'reads' || scopes.includes('write')).map(descriptionOf);

export const findTool = (name: string) => tools.find((tool) => tool.name === name);

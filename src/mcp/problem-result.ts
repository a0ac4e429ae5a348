/** Problems as results of tools: the code of the API, and what a model can do about it. */
import { type FieldError, Problem, type ProblemCode } from '../errors/problem.ts';

/** What to do next. The explanations of the catalogue are about HTTP, which a model does not see. */
const cures: Partial<Record<ProblemCode, string>> = {
  validation_failed: 'Correct the arguments that `errors` names, and call the tool again.',
  not_found:
    'Look the thing up again: find_tasks and list_projects return what exists and can be seen.',
  forbidden:
    'Do not retry. list_projects shows the role in each project: an owner or editor may change tasks.',
  insufficient_scope: 'Do not retry. Ask for an API token with the scope write.',
  invalid_token: 'Do not retry. Ask for a new API token.',
  token_expired: 'Do not retry. Ask for a new token.',
  conflict:
    'An archived project is read-only. Choose another project, or ask its owner to unarchive it. A task has a limited number of comments.',
  precondition_failed: 'Read the task again with read_tasks, decide anew, and use its version.',
  invalid_cursor: 'Call the tool again without the cursor.',
  cursor_expired: 'Call the tool again without the cursor, and read the tasks anew.',
  idempotency_key_reused: 'Use another key, or none.',
  idempotency_in_flight: 'The same call is still running. Wait a second and repeat it unchanged.',
  database_unavailable: 'Wait a second and repeat the call unchanged: it is not applied twice.',
  overloaded: 'Wait a second and repeat the call unchanged: it is not applied twice.',
};

/** Returns what the work returns; undefined where the user does not see what it reads. */
export async function ifVisible<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Problem && error.code === 'not_found') return undefined;
    throw error;
  }
}

/** Returns the result. A client does not check the text against the schema of the tool, as it does structured content. */
export function problemResult({ code, message, particulars: { errors, version } }: Problem) {
  const problem = {
    code,
    detail: message,
    cure: cures[code] ?? 'Do not retry. Report the code.',
    ...(errors && { errors: errors.map(asArgument) }),
    ...(version && { version }),
  };
  return {
    content: [{ type: 'text' as const, text: JSON.stringify(problem) }],
    isError: true,
  };
}

/** Names the argument of the tool where a handler names a field of the API. */
const asArgument = ({ location, ...rest }: FieldError) => ({
  argument: location
    .replace(/^(?:body|query)\.?/, '')
    .replace(/^operations\b/, 'tasks')
    .replace(/\b(project|task|assignee)_id$/, (_, name) => (name === 'task' ? 'id' : name)),
  ...rest,
});

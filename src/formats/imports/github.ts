/** Reads GitHub issues: the list of the REST API, and what `gh issue list --json` writes. */
import { readInstant } from './dates.ts';
import { type ForeignItem, type ForeignPiece, type Note, newTask } from './foreign-task.ts';
import {
  type JsonItem,
  listOf,
  objectOrEmpty,
  objectsOf,
  readItems,
  textOf,
} from './json-items.ts';

/** https://docs.github.com/rest/issues: why an issue is closed, apart from being done. */
const CANCELLED = ['not_planned', 'duplicate'];

export async function* readGitHub(
  chunks: AsyncIterable<Uint8Array>,
  zone: string,
): AsyncGenerator<ForeignPiece> {
  for await (const item of readItems(chunks)) yield readIssue(item, zone);
}

function readIssue({ value, index, line }: JsonItem, zone: string): ForeignItem {
  const notes: Note[] = [];
  const found: ForeignItem = { kind: 'item', line, item: index, notes };
  const title = textOf(value.title) ?? '';
  // The list of issues has the pull requests in it.
  if (value.pull_request) {
    notes.push({ code: 'item_left_out', field: 'pull_request', value: title });
    return found;
  }
  // The API writes snake_case, gh camelCase.
  const instantOf = (...fields: string[]) => {
    for (const field of fields) {
      const text = textOf(value[field]);
      if (text !== undefined) return readInstant(text, zone);
    }
    return undefined;
  };

  const task = newTask(title);
  task.project = repositoryOf(value);
  const body = textOf(value.body);
  if (body !== undefined) task.paragraphs.push(body);
  const reason = String(value.state_reason ?? value.stateReason ?? '').toLowerCase();
  if (String(value.state).toLowerCase() === 'closed')
    task.status = CANCELLED.includes(reason) ? 'cancelled' : 'done';
  if (task.status === 'done') task.completed_at = instantOf('closed_at', 'closedAt');
  task.created_at = instantOf('created_at', 'createdAt');
  task.updated_at = instantOf('updated_at', 'updatedAt');
  task.labels = listOf(value.labels).flatMap(
    (one) => textOf(one) ?? textOf(objectOrEmpty(one).name) ?? [],
  );

  const [assignee, ...others] = objectsOf(value.assignees ?? [value.assignee]).flatMap(
    ({ login }) => textOf(login) ?? [],
  );
  task.assignee = assignee;
  for (const login of others)
    notes.push({ code: 'person_left_out', field: 'assignees', value: login });

  const kept = (field: string, paragraph: string) => {
    task.paragraphs.push(paragraph);
    notes.push({ code: 'moved_to_description', field, value: paragraph });
  };
  const milestone = objectOrEmpty(value.milestone);
  const due = textOf(milestone.due_on ?? milestone.dueOn);
  const day = due === undefined ? undefined : readInstant(due, zone)?.slice(0, 10);
  // A milestone is due on a day, which the API writes as an instant.
  if (day !== undefined) task.due = { on: day };
  const milestoneTitle = textOf(milestone.title);
  if (milestoneTitle !== undefined) kept('milestone', `Milestone: ${milestoneTitle}`);
  for (const comment of objectsOf(value.comments)) {
    const text = textOf(comment.body);
    const author = textOf(objectOrEmpty(comment.author).login) ?? 'unknown';
    const at = textOf(comment.createdAt)?.slice(0, 10);
    if (text !== undefined) kept('comments', `${author}${at ? `, ${at}` : ''}: ${text}`);
  }
  if (typeof value.comments === 'number' && value.comments > 0)
    notes.push({ code: 'field_left_out', field: 'comments', value: String(value.comments) });
  const url = textOf(value.html_url) ?? textOf(value.url);
  if (url !== undefined) task.paragraphs.push(url);
  return { ...found, task };
}

/** Returns `owner/repository`. */
function repositoryOf(issue: Record<string, unknown>): string | undefined {
  for (const field of ['html_url', 'url', 'repository_url']) {
    const [, name] =
      /^https:\/\/[^/]+\/(?:api\/v3\/)?(?:repos\/)?([\w.-]+\/[\w.-]+)(?:\/issues\/\d+)?$/.exec(
        textOf(issue[field]) ?? '',
      ) ?? [];
    if (name !== undefined) return name;
  }
  return undefined;
}

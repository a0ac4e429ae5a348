/**
 * Very many tasks, as real ones are: most of them done, few of them urgent, words and labels of which some are
 * everywhere and most are rare, one project as large as many others together.
 */
import { SQL } from 'bun';

/** The reader is in the large project and in this many others. */
export const SHARED_PROJECTS = 8;

export interface Dataset {
  /** Of a share of all tasks. */
  large: string;
  /** Of as many as all others. */
  small: string;
}

interface Skew {
  large_share: number;
  tasks_per_project: number;
}

/** Puts `count` tasks into a database that has only its reader. Takes about two minutes for a million. */
export async function fill(
  url: string,
  reader: { id: string },
  count: number,
  { large_share, tasks_per_project }: Skew = { large_share: 1 / 5, tasks_per_project: 1000 },
): Promise<Dataset> {
  const sql = new SQL({ url, max: 1 });
  try {
    // Without triggers and checks: the rows are complete.
    await sql.unsafe('set session_replication_role = replica');
    // The same words, labels and dates in every run, and no other plan by chance. A parallel worker has a seed of its own.
    await sql.unsafe('set max_parallel_workers_per_gather = 0; select setseed(0.5)');
    await sql`insert into users (id, username, email, password_hash)
      select gen_random_uuid(), 'crowd-' || n, 'crowd-' || n || '@example.org', '' from generate_series(0, 49) n`;
    await sql`create temp table place as
      select uuidv7() as project_id, n, case when n = 0 then ${count * large_share}::int else ${tasks_per_project}::int end as size
      from generate_series(0, ${Math.floor((count * (1 - large_share)) / tasks_per_project)}::int) n`;
    await sql`insert into projects (id, name, name_words, description_words, name_runs, description_runs, words_version)
      select project_id, 'Project ' || n, array_to_tsvector(array['project', n::text]), '', '', '', -1 from place`;
    await sql`insert into project_members (project_id, user_id, role)
      select project_id, users.id, 'owner' from place join users on username = 'crowd-' || n % 50`;
    await sql`insert into project_members (project_id, user_id, role)
      select project_id, ${reader.id}, 'editor' from place where n <= ${SHARED_PROJECTS}`;
    const indexes = await sql`select indexname, indexdef from pg_indexes
      where tablename in ('tasks', 'comments') and indexname not like '%_pkey'`;
    for (const { indexname } of indexes) await sql.unsafe(`drop index ${indexname}`);
    await sql.unsafe(TASKS);
    await sql.unsafe(COMMENTS);
    for (const { indexdef } of indexes) await sql.unsafe(indexdef);
    await sql.unsafe('vacuum (analyze)');
    const rows = await sql`select project_id from place where n <= 1 order by n`;
    return { large: rows[0].project_id, small: rows[1].project_id };
  } finally {
    await sql.close();
  }
}

/** A word of a thousand and more: `word1` is in every sixth task or so, `word4000` in one of ten thousand. */
const WORD = `'word' || (1 + floor(5000 * random() ^ 4))::int`;
const LABEL = `'label' || (1 + floor(60 * random() ^ 3))::int`;

const TASKS = `
  insert into tasks (id, project_id, title, title_key, title_words, description, description_words, labels, label_words,
    status, completed_at, priority, due_at, assignee_id, created_at, updated_at, title_runs, description_runs,
    words_version, comment_count)
  select uuidv7(created_at - now()), project_id,
    array_to_string(title, ' '), array_to_string(title, ' '),
    array_to_tsvector((select array_agg(distinct scope || word) from unnest(title) word)),
    array_to_string(description, ' '),
    array_to_tsvector((select array_agg(distinct scope || word) from unnest(description) word)),
    labels, array_to_tsvector(array(select scope || '#' || label from unnest(labels) label)),
    status, case when status = 'done' then created_at end, priority, due_at, assignee_id, created_at,
    created_at + random() * (now() - created_at), '', '', -1,
    case when random() < 0.2 then 1 + floor(4 * random())::int else 0 end
  from (
    select project_id, right(project_id::text, 6) as scope, created_at,
      case when random() < 0.01 then 'cancelled' else
        (array['done','done','done','done','done','done','done','done','todo','todo','in_progress','in_progress'])[1 + floor(12 * random())::int] end as status,
      floor(5 * random() ^ 3)::int as priority,
      case when random() < 0.4 then created_at + random() * interval '60 days' end as due_at,
      case when random() < 0.2 then member end as assignee_id,
      array(select ${WORD} from generate_series(1, 5) where n >= 0) as title,
      array(select ${WORD} from generate_series(1, 10) where n >= 0) as description,
      array(select distinct ${LABEL} from generate_series(1, floor(3 * random())::int + 0 * n)) as labels
    from (
      select project_id, place.n, (select user_id from project_members m where m.project_id = place.project_id
          order by role limit 1) as member,
        now() - (1 - task::float / size) * interval '700 days' as created_at
      from place, generate_series(1, size) task
    ) tasks
  ) tasks`;

/** One task in five has up to four comments. */
const COMMENTS = `
  insert into comments (id, project_id, task_id, body, words, runs, words_version, created_at)
  select uuidv7(created_at - now()), project_id, task_id, array_to_string(body, ' '),
    array_to_tsvector((select array_agg(distinct scope || word) from unnest(body) word)), '', -1, created_at
  from (
    select project_id, id as task_id, right(project_id::text, 6) as scope, updated_at as created_at,
      array(select ${WORD} from generate_series(1, 10) where n > 0) as body
    from tasks, generate_series(1, comment_count) n
  ) comments`;

/** Lists as people ask for them, by every sort and filter. */
export const asked: Record<string, string> = {
  'newest first': '',
  'oldest first': 'sort=created_at',
  'latest change first': 'sort=-updated_at',
  'due first': 'sort=due_at',
  'due last': 'sort=-due_at',
  'most urgent first': 'sort=-priority',
  'by title': 'sort=title',
  open: 'status=todo,in_progress',
  'open, due first': 'status=todo,in_progress&sort=due_at',
  done: 'status=done',
  'cancelled (1 %)': 'status=cancelled',
  'cancelled (1 %), by title': 'status=cancelled&sort=title',
  'a common label': 'label=label1',
  'a rare label': 'label=label59',
  'priority 3 and above': 'priority_min=3',
  urgent: 'priority_min=4&sort=due_at',
  'assigned to me': 'assignee_id=me',
  'assigned to nobody': 'assignee_id=none',
  overdue: `due_before=${new Date().toISOString()}&sort=due_at`,
  'due from now on': `due_after=${new Date().toISOString()}&sort=due_at`,
  'due within a week of now': `due_after=${days(-7)}&due_before=${days(7)}`,
  'q: a common word': 'q=word1',
  'q: a rare word': 'q=word4000',
  'q: a word of one task in a hundred': 'q=word300',
  'q: two words': 'q=word10 word2',
  'q: one letter': 'q=w',
  'q: nowhere': 'q=nothing',
  'q: a common word, by title': 'q=word1&sort=title',
  'q, label and status': 'q=word2&label=label2&status=todo',
  'in comments: a common word': 'q=word1&in=comments',
  'in comments: a rare word': 'q=word4000&in=comments',
  'in comments: a word of one comment in a hundred': 'q=word300&in=comments',
  'in comments: nowhere, by title': 'q=nothing&in=comments&sort=title',
  'in all texts: a common word': 'q=word1&in=title,description,comments',
  'in all texts: a rare word': 'q=word4000&in=title,description,comments',
  'in all texts, label and status':
    'q=word2&in=title,description,comments&label=label2&status=todo',
  'in all texts: a common word, a rare label':
    'q=word2&in=title,description,comments&label=label59',
  'in all texts: a common word, a rare label, done':
    'q=word2&in=title,description,comments&label=label5&status=done',
  'in comments: a rare word, a common label': 'q=word4000&in=comments&label=label1',
  'in the title: a common word': 'q=word1&in=title',
  'in the title: a rare word': 'q=word4000&in=title',
};

function days(count: number): string {
  return new Date(Date.now() + count * 86_400_000).toISOString();
}

export interface Plan {
  'Node Type': string;
  'Actual Rows': number;
  'Actual Loops': number;
  'Rows Removed by Filter'?: number;
  'Rows Removed by Index Recheck'?: number;
  Plans?: Plan[];
}

/** How many rows the scans of a plan have read from tables and their indexes, those that were left out included. */
export function countRowsRead(plan: Plan): number {
  const scans = /Scan$|Scan Backward$/.test(plan['Node Type']);
  const beneath = /^(Bitmap Index|CTE|Subquery|Function)/.test(plan['Node Type']);
  const read =
    (plan['Actual Rows'] ?? 0) +
    (plan['Rows Removed by Filter'] ?? 0) +
    (plan['Rows Removed by Index Recheck'] ?? 0);
  const here = scans && !beneath ? read * plan['Actual Loops'] : 0;
  return (plan.Plans ?? []).reduce((sum, inner) => sum + countRowsRead(inner), here);
}

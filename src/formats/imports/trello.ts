/**
 * Reads the export of a Trello board. What belongs to a card stands in other lists of the document, in any order, so the
 * cards are held until its end, without what is not needed of them.
 */
import { Problem } from '../../errors/problem.ts';
import { readObjectWithList } from '../json-list.ts';
import { readDate, readInstant } from './dates.ts';
import { type ForeignPiece, type ForeignTask, type Note, newTask } from './foreign-task.ts';
import { type JsonObject, listOf, objectOrEmpty, objectsOf, textOf } from './json-items.ts';

/** The lists of the document. Those that are not read below are passed over item by item. */
const LISTS = [
  'cards',
  ...['lists', 'labels', 'checklists', 'members', 'actions'],
  ...['memberships', 'customFields', 'pluginData', 'boardPlugins', 'powerUps', 'idTags', 'tags'],
] as const;
/** A card has about 200 values; one with 100 attachments, which have 17 previews each, has about 15,000. */
const NODES_MAX = 20_000;
/** The most characters of the texts that are held: a board of 5,000 cards has about four million. */
const HELD_CHARACTERS_MAX = 16 * 1024 ** 2;

const DONE_LIST = /^done$/i;
/** What names a thing in the order of its list. */
const byPosition = (one: JsonObject, other: JsonObject) =>
  Number(one.pos ?? 0) - Number(other.pos ?? 0);

interface Card {
  line: number;
  item: number;
  card: JsonObject;
}

interface Board {
  name: string | undefined;
  cards: Card[];
  lists: Map<string, JsonObject>;
  labels: Map<string, JsonObject>;
  members: Map<string, JsonObject>;
  checklists: JsonObject[];
  comments: JsonObject[];
}

export async function* readTrello(
  chunks: AsyncIterable<Uint8Array>,
  zone: string,
): AsyncGenerator<ForeignPiece> {
  const board = await readBoard(chunks);
  if (board.name !== undefined) yield { kind: 'name', name: board.name };
  const checklists = Map.groupBy(board.checklists.toSorted(byPosition), ({ idCard }) => idCard);
  const comments = Map.groupBy(
    board.comments,
    ({ data }) => objectOrEmpty(objectOrEmpty(data).card).id,
  );
  const listOfCard = ({ card }: Card) => board.lists.get(String(card.idList)) ?? {};
  const inOrder = board.cards.toSorted(
    (one, other) =>
      byPosition(listOfCard(one), listOfCard(other)) || byPosition(one.card, other.card),
  );
  for (const held of inOrder) {
    const { card, line, item } = held;
    const notes: Note[] = [];
    const task = readCard(card, listOfCard(held), board, notes, zone);
    addChecklists(task, checklists.get(card.id) ?? [], notes);
    addComments(task, comments.get(card.id) ?? [], notes);
    yield { kind: 'item', line, item, notes, task };
  }
}

async function readBoard(chunks: AsyncIterable<Uint8Array>): Promise<Board> {
  const board: Board = {
    name: undefined,
    ...{ cards: [], checklists: [], comments: [] },
    ...{ lists: new Map(), labels: new Map(), members: new Map() },
  };
  let held = 0;
  const hold = <T extends JsonObject>(kept: T): T => {
    held += JSON.stringify(kept).length;
    if (held > HELD_CHARACTERS_MAX) throw new Problem('payload_too_large');
    return kept;
  };
  const pieces = readObjectWithList(chunks, { fields: 'any', lists: LISTS, nodesMax: NODES_MAX });
  for await (const piece of pieces) {
    if (piece.kind === 'field') {
      if (piece.name === 'name') board.name = textOf(piece.value);
      continue;
    }
    const { list, index, line } = piece;
    const value = objectOrEmpty(piece.value);
    if (list === 'cards') board.cards.push({ line, item: index, card: hold(pick(value, CARD)) });
    else if (list === 'checklists') board.checklists.push(hold(pick(value, CHECKLIST)));
    else if (list === 'actions') {
      if (value.type === 'commentCard') board.comments.push(hold(pick(value, COMMENT)));
    } else if (list === 'lists' || list === 'labels' || list === 'members')
      board[list].set(String(value.id), hold(pick(value, NAMED)));
  }
  return board;
}

const CARD = [
  ...['id', 'idList', 'idMembers', 'idLabels', 'labels', 'name', 'desc', 'pos', 'closed'],
  ...['due', 'dueComplete', 'dateCompleted', 'dateClosed', 'dateLastActivity', 'start'],
  ...['shortUrl', 'url', 'attachments', 'dueReminder'],
];
const CHECKLIST = ['idCard', 'name', 'pos', 'checkItems'];
const COMMENT = ['data', 'date', 'memberCreator'];
const NAMED = ['id', 'name', 'color', 'closed', 'pos', 'username', 'fullName'];

const pick = (value: JsonObject, names: readonly string[]): JsonObject =>
  Object.fromEntries(names.filter((name) => name in value).map((name) => [name, value[name]]));

function readCard(
  card: JsonObject,
  list: JsonObject,
  board: Board,
  notes: Note[],
  zone: string,
): ForeignTask {
  const task = newTask(textOf(card.name) ?? '');
  const timeOf = (field: string) => {
    const text = textOf(card[field]);
    const read = text === undefined ? undefined : readDate(text, zone);
    if (text !== undefined && !read) notes.push({ code: 'date_left_out', field, value: text });
    return read;
  };
  const instantOf = (field: string) => readInstant(textOf(card[field]) ?? '', zone);
  const kept = (field: string, paragraph: string) => {
    task.paragraphs.push(paragraph);
    notes.push({ code: 'moved_to_description', field, value: paragraph });
  };
  const description = textOf(card.desc);
  if (description !== undefined) task.paragraphs.push(description);
  task.due = timeOf('due');
  const start = timeOf('start');
  if (start) kept('start', `Start: ${'on' in start ? start.on : start.at}`);
  task.created_at = createdAt(String(card.id));
  task.updated_at = instantOf('dateLastActivity');

  const listName = textOf(list.name);
  const isArchived = card.closed === true || list.closed === true;
  if (card.dueComplete === true) task.status = 'done';
  else if (listName !== undefined && DONE_LIST.test(listName.trim())) {
    task.status = 'done';
    notes.push({ code: 'status_changed', field: 'idList', value: listName });
  } else if (isArchived) {
    task.status = 'cancelled';
    notes.push({ code: 'status_changed', field: 'closed', value: listName });
  }
  if (task.status === 'done')
    task.completed_at = instantOf('dateCompleted') ?? instantOf('dateClosed');

  const named = objectsOf(card.labels);
  const labels =
    named.length > 0
      ? named
      : listOf(card.idLabels).map((id) => board.labels.get(String(id)) ?? {});
  task.labels = [
    ...(listName === undefined ? [] : [listName]),
    // A label may be a colour alone.
    ...labels.flatMap(({ name, color }) => textOf(name) ?? textOf(color) ?? []),
  ];

  const [assignee, ...others] = listOf(card.idMembers).map((id) => {
    const { username, fullName } = board.members.get(String(id)) ?? {};
    return textOf(username) ?? textOf(fullName) ?? String(id);
  });
  task.assignee = assignee;
  for (const name of others)
    notes.push({ code: 'person_left_out', field: 'idMembers', value: name });
  for (const { name, url } of objectsOf(card.attachments)) {
    const address = textOf(url);
    const called = textOf(name);
    if (address === undefined)
      notes.push({ code: 'field_left_out', field: 'attachments', value: called });
    else
      kept(
        'attachments',
        `Attachment: ${called && called !== address ? `${called} ` : ''}${address}`,
      );
  }
  if (typeof card.dueReminder === 'number' && card.dueReminder >= 0 && task.due)
    notes.push({
      code: 'reminder_left_out',
      field: 'dueReminder',
      value: `${card.dueReminder} minutes`,
    });
  const url = textOf(card.shortUrl) ?? textOf(card.url);
  if (url !== undefined) task.paragraphs.push(url);
  return task;
}

/** The first eight hexadecimal digits of an id of MongoDB are the second in which it was made. */
const createdAt = (id: string): string | undefined =>
  /^[0-9a-f]{24}$/.test(id)
    ? readInstant(new Date(Number.parseInt(id.slice(0, 8), 16) * 1000).toISOString(), 'UTC')
    : undefined;

function addChecklists(task: ForeignTask, checklists: readonly JsonObject[], notes: Note[]) {
  for (const { name, checkItems } of checklists) {
    const items = objectsOf(checkItems)
      .toSorted(byPosition)
      .map((one) => `- [${one.state === 'complete' ? 'x' : ' '}] ${textOf(one.name) ?? ''}`);
    const title = textOf(name) ?? 'Checklist';
    task.paragraphs.push([`${title}:`, ...items].join('\n'));
    notes.push({ code: 'moved_to_description', field: 'checklists', value: title });
  }
}

function addComments(task: ForeignTask, comments: readonly JsonObject[], notes: Note[]) {
  // The document has the latest first.
  for (const { data, date, memberCreator } of comments.toReversed()) {
    const text = textOf(objectOrEmpty(data).text);
    if (text === undefined) continue;
    const { fullName, username } = objectOrEmpty(memberCreator);
    const author = textOf(fullName) ?? textOf(username) ?? 'unknown';
    const at = textOf(date)?.slice(0, 10);
    task.paragraphs.push(`${author}${at ? `, ${at}` : ''}: ${text}`);
    notes.push({ code: 'moved_to_description', field: 'commentCard', value: text });
  }
}

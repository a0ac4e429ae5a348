/** python-caldav: a library, as scripts use it. It writes without a condition, so that the last write wins, field by field. */

import { expect, test } from 'bun:test';
import {
  type Desk,
  fill,
  lostIn,
  measure,
  ODD_UIDS,
  putOddItems,
  readText,
  tasksOf,
  useDesks,
  versionOf,
} from './programs.ts';

const desks = useDesks();

/** Runs a script with a calendar, and returns what it prints as JSON. */
async function python(desk: Desk, script: string): Promise<unknown> {
  const prelude = `
import json, caldav
client = caldav.DAVClient(url='${desk.url}/', username='ada', password='${desk.token}')
principal = client.principal()
calendar = [one for one in principal.calendars() if one.name == 'Kitchen'][0]
`;
  const printed = await desk.run('/usr/bin/python3', '-c', prelude + script);
  return printed === '' ? undefined : JSON.parse(printed);
}

const titles =
  'print(json.dumps(sorted(todo.vobject_instance.vtodo.summary.value for todo in calendar.todos())))';

test('tasks are made, changed, finished and deleted on either side', async () => {
  const desk = await desks.open();
  const { user, project } = desk;
  const made = await user.createTask(project.id, {
    title: 'By the API',
    labels: ['a', 'b'],
    due_at: '2026-12-24T17:00:00.123Z',
    assignee_id: 'me',
  });
  await python(
    desk,
    `calendar.save_todo(ical='''BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//example//EN
BEGIN:VTODO
UID:by-python@example.org
DTSTAMP:20260101T000000Z
SUMMARY:By Python
DUE;VALUE=DATE:20261224
CATEGORIES:x,y
END:VTODO
END:VCALENDAR
''')`,
  );
  expect(await tasksOf(desk)).toMatchObject({
    'By Python': { due_on: '2026-12-24', labels: ['x', 'y'], status: 'todo' },
  });
  expect(await python(desk, titles)).toEqual(['By Python', 'By the API']);

  await python(
    desk,
    `
todo = calendar.todo_by_uid('${made.id}')
todo.vobject_instance.vtodo.summary.value = 'Renamed by Python'
todo.save()
calendar.todo_by_uid('by-python@example.org').complete()
`,
  );
  const tasks = await tasksOf(desk);
  expect(tasks).toMatchObject({
    'By Python': { status: 'done' },
    'Renamed by Python': {
      labels: ['a', 'b'],
      due_at: '2026-12-24T17:00:00.123Z',
      assignee_id: user.id,
    },
  });
  expect(await python(desk, titles)).toEqual(['Renamed by Python']);
  await user.patch(`/tasks/${tasks['By Python']?.id}`, { status: 'todo' });
  expect(await python(desk, titles)).toEqual(['By Python', 'Renamed by Python']);

  await user.delete(`/tasks/${made.id}`);
  await python(desk, "calendar.todo_by_uid('by-python@example.org').delete()");
  expect([await python(desk, titles), await tasksOf(desk)]).toEqual([[], {}]);
});

test('a write that knows nothing of another keeps the fields that it has not changed', async () => {
  const desk = await desks.open();
  const task = await desk.user.createTask(desk.project.id, { title: 'Before' });
  const running = python(
    desk,
    `
import pathlib, time
todo = calendar.todo_by_uid('${task.id}')
pathlib.Path('read').touch()
while not pathlib.Path('changed').exists(): time.sleep(0.05)
todo.vobject_instance.vtodo.add('priority').value = '1'
todo.save()
`,
  );
  await desk.run('sh', '-c', 'until [ -e read ]; do sleep 0.05; done');
  await desk.user.patch(`/tasks/${task.id}`, { title: 'By the API' });
  await desk.run('touch', 'changed');
  await running;
  // It sends the title that it read, so the title is what it says; without a condition no server can know.
  expect(await tasksOf(desk)).toMatchObject({ Before: { priority: 4 } });
});

test('a list that is made here is a project there', async () => {
  const desk = await desks.open();
  await python(
    desk,
    "principal.make_calendar(name='Garden', supported_calendar_component_set=['VTODO']).save_todo(summary='Water')",
  );
  const { body } = await desk.user.get('/projects/?sort=created_at');
  expect(body.items.map(({ name }: { name: string }) => name)).toEqual(['Kitchen', 'Garden']);
  expect(Object.keys(await tasksOf({ ...desk, project: body.items[1] }))).toEqual(['Water']);
  expect(
    await python(desk, 'print(json.dumps(sorted(one.name for one in principal.calendars())))'),
  ).toEqual(['Garden', 'Kitchen']);
});

test('a client that was away long begins anew', async () => {
  const desk = await desks.open();
  const { user, project } = desk;
  await user.createTask(project.id, { title: 'One' });
  const token = await python(
    desk,
    'print(json.dumps(calendar.objects_by_sync_token().sync_token))',
  );
  await user.createTask(project.id, { title: 'Two' });
  const changes = (since: unknown) =>
    python(
      desk,
      `print(json.dumps(len(list(calendar.objects_by_sync_token(${JSON.stringify(since)})))))`,
    );
  expect(await changes(token)).toBe(1);
  await user.get('/changes');
  await desks.api.sql`update feed set pruned_position = last_position`;
  await expect(changes(token)).rejects.toThrow('AuthorizationError');
  expect(await changes('')).toBe(2);
});

/** What the library writes in other words as soon as it reads an item, by the UID. */
const repaired: Record<string, string[]> = {
  'capital-break': ['DESCRIPTION'],
  bare: ['SUMMARY'],
  weeks: ['DURATION'],
  'attached-data': ['ATTACH'],
};

test('what other programs wrote arrives whole, and goes back as the library writes it', async () => {
  const desk = await desks.open();
  await putOddItems(desk);
  const read = (await python(
    desk,
    'print(json.dumps({str(todo.url).rsplit("/", 1)[1][:-4]: todo.data for todo in calendar.todos(include_completed=True)}))',
  )) as Record<string, string>;
  for (const uid of ODD_UIDS)
    expect([uid, lostIn(await readText(desk, uid), read[uid] ?? '')]).toEqual([
      uid,
      repaired[uid] ?? [],
    ]);
  const before = new Map(
    await Promise.all(ODD_UIDS.map(async (uid) => [uid, await readText(desk, uid)] as const)),
  );
  await python(
    desk,
    `
for todo in calendar.todos(include_completed=True):
    todo.vobject_instance.vtodo.add('x-edited').value = '1'
    todo.save()
`,
  );
  for (const uid of ODD_UIDS) {
    const lost = lostIn(before.get(uid) ?? '', await readText(desk, uid));

    console.log(
      `python-caldav ${await versionOf('python3-caldav')}, ${uid}: ${lost.join(', ') || 'nothing'} changed`,
    );
  }
});

test('a thousand tasks that have not changed', async () => {
  const desk = await desks.open();
  await fill(desk, 1000);
  const name = `python-caldav ${await versionOf('python3-caldav')}`;
  const token = await python(
    desk,
    'print(json.dumps(calendar.objects_by_sync_token().sync_token))',
  );
  await measure(`${name}, todos() of 1,000 items`, desk, () =>
    python(desk, 'assert len(calendar.todos()) == 1000'),
  );
  await measure(`${name}, 1,000 unchanged items by token`, desk, () =>
    python(desk, `assert len(list(calendar.objects_by_sync_token(${JSON.stringify(token)}))) == 0`),
  );
});

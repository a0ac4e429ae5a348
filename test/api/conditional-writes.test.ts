/** Writes on a version: entity tags as proxies rewrite them, the version in the body, and what a 412 tells. */
import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi();

const tagsOf = (version: number) => [
  `"${version}"`,
  `W/"${version}"`,
  `"${version}-gzip"`,
  `"${version}--gzip"`,
  `W/"${version}-br"`,
  `"${version};br"`,
  `"${version}:zstd"`,
  `"9", W/"${version}-gzip"`,
];

describe('If-Match names a version as a proxy that compresses writes it', () => {
  test.each(tagsOf(1))(
    '%s allows PUT, PATCH and DELETE of a task, and PATCH of a project',
    async (tag) => {
      const ada = await api.person();
      const project = await ada.createProject();
      const headers = { 'if-match': tag };
      const path = async () => `/tasks/${(await ada.createTask(project.id)).id}`;
      expect((await ada.put(await path(), { title: 'x' }, { headers })).status).toBe(200);
      expect((await ada.patch(await path(), { title: 'x' }, { headers })).status).toBe(200);
      expect((await ada.delete(await path(), { headers })).status).toBe(204);
      const patched = await ada.patch(`/projects/${project.id}`, { name: 'x' }, { headers });
      expect(patched.status).toBe(200);
    },
  );

  test.each(tagsOf(1))('If-None-Match: %s is a 304', async (tag) => {
    const ada = await api.person();
    const { id } = await ada.createTask((await ada.createProject()).id);
    const { status } = await ada.get(`/tasks/${id}`, { headers: { 'if-none-match': tag } });
    expect(status).toBe(304);
  });

  test.each(['"1-other"', '"11"', '"-gzip"', '"gzip"', '"1gzip"'])(
    '%s names another version',
    async (tag) => {
      const ada = await api.person();
      const { id } = await ada.createTask((await ada.createProject()).id);
      const { status } = await ada.patch(`/tasks/${id}`, {}, { headers: { 'if-match': tag } });
      expect(status).toBe(412);
    },
  );
});

describe('a 412 tells the present version', () => {
  test('on every write of a task and a project', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    const task = await ada.createTask(project.id);
    await ada.patch(`/tasks/${task.id}`, { title: 'New' });
    await ada.patch(`/projects/${project.id}`, { name: 'New' });
    const headers = { 'if-match': '"1"' };
    for (const [method, path, body] of [
      ['PUT', `/tasks/${task.id}`, { title: 'x' }],
      ['PATCH', `/tasks/${task.id}`, { title: 'x' }],
      ['DELETE', `/tasks/${task.id}`, undefined],
      ['PATCH', `/projects/${project.id}`, { name: 'x' }],
      ['DELETE', `/projects/${project.id}`, undefined],
    ] as const) {
      const answer = await ada.request(method, path, body, { headers });
      expect([method, answer.status, answer.headers.get('etag'), answer.body.version]).toEqual([
        method,
        412,
        '"2"',
        2,
      ]);
    }
  });
});

describe('the version in the body', () => {
  test('of PATCH and PUT allows the write on that version alone', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    const { id } = await ada.createTask(project.id);
    for (const [method, path, fields] of [
      ['PATCH', `/tasks/${id}`, { title: 'patched' }],
      ['PUT', `/tasks/${id}`, { title: 'put' }],
      ['PATCH', `/projects/${project.id}`, { name: 'x' }],
    ] as const) {
      const version = Number((await ada.get(path)).body.version);
      const done = await ada.request(method, path, { ...fields, version });
      expect([method, done.status, done.body.version]).toEqual([method, 200, version + 1]);
      const stale = await ada.request(method, path, { ...fields, version });
      expect([method, stale.status, stale.body.version]).toEqual([method, 412, version + 1]);
    }
  });

  test('must be among those of If-Match', async () => {
    const ada = await api.person();
    const { id } = await ada.createTask((await ada.createProject()).id);
    const patch = (version: number, tag: string) =>
      ada.patch(`/tasks/${id}`, { version }, { headers: { 'if-match': tag } });
    expect((await patch(1, '"2"')).status).toBe(412);
    expect((await patch(2, '"1"')).status).toBe(412);
    expect((await patch(1, '"2", "1"')).status).toBe(200);
    expect((await patch(1, '*')).status).toBe(200);
  });
});

describe('PUT takes back what GET gave', () => {
  test('with one field changed, once for each version', async () => {
    const ada = await api.person();
    const { id } = await ada.createTask((await ada.createProject()).id, {
      status: 'done',
      due_at: '2026-12-24T18:00:00Z',
      labels: ['a'],
    });
    const { body: task } = await ada.get(`/tasks/${id}`);
    const { status, body } = await ada.put(`/tasks/${id}`, { ...task, title: 'New' });
    expect([status, body]).toEqual([
      200,
      { ...task, title: 'New', version: 2, updated_at: body.updated_at },
    ]);
    expect((await ada.put(`/tasks/${id}`, { ...task, title: 'Newer' })).status).toBe(412);
  });

  test('an instant with another offset and an id in upper case are the same', async () => {
    const ada = await api.person();
    const task = await ada.createTask((await ada.createProject()).id);
    const createdAt = task.created_at.replace('Z', '+00:00');
    const { status } = await ada.put(`/tasks/${task.id}`, {
      ...task,
      id: task.id.toUpperCase(),
      created_at: createdAt,
    });
    expect(status).toBe(200);
  });

  test.each([
    ['id', '019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23'],
    ['project_id', '019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23'],
    ['created_at', '2020-01-01T00:00:00.000Z'],
    ['updated_at', '2020-01-01T00:00:00.000Z'],
    ['completed_at', '2020-01-01T00:00:00.000Z'],
    ['created_by', null],
  ])('a changed %s is refused with the reason, and nothing is written', async (field, value) => {
    const ada = await api.person();
    const task = await ada.createTask((await ada.createProject()).id);
    const { status, body } = await ada.put(`/tasks/${task.id}`, { ...task, [field]: value });
    expect([status, body.errors]).toEqual([
      422,
      [
        {
          location: `body.${field}`,
          code: 'read_only',
          message: expect.stringMatching(/: send it as it was read, or leave it out$/),
        },
      ],
    ]);
    expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(task);
  });
});

describe('a message suggests a name', () => {
  test.each([
    ['due_after=2026-12-24T18:00:00+01:00', 'query.due_after', 'write %2B for +'],
    ['due_before=2026-12-24T18:00:00+00:00', 'query.due_before', 'write %2B for +'],
    ['prioritymin=1', 'query.prioritymin', 'did you mean priority_min?'],
    ['due_befor=x', 'query.due_befor', 'did you mean due_before?'],
    ['asignee_ids=x', 'query.asignee_ids', 'did you mean assignee_id?'],
  ])('?%s', async (query, location, message) => {
    const ada = await api.person();
    const { status, body } = await ada.get(`/tasks?${query}`);
    expect([status, body.errors[0].location]).toEqual([422, location]);
    expect(body.errors[0].message).toContain(message);
  });

  test.each([
    ['dueAt', 'due_at'],
    ['titel', 'title'],
    ['Title', 'title'],
    ['lables', 'labels'],
    ['assigneeId', 'assignee_id'],
    ['statuss', 'status'],
  ])('the field %s is unknown, and %s was meant', async (given, meant) => {
    const ada = await api.person();
    const { id } = await ada.createProject();
    const { body } = await ada.post(`/tasks/projects/${id}`, { title: 'x', [given]: null });
    expect(body.errors[0].message).toBe(`is not a field of this request: did you mean ${meant}?`);
  });

  test('an unknown field that resembles none gets no suggestion', async () => {
    const ada = await api.person();
    const { body } = await ada.post('/projects', { name: 'x', owner: 'y' });
    expect(body.errors[0].message).toBe('is not a field of this request');
  });
});

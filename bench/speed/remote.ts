/** People on a server of which only the URL is known: they register and fill their projects through the API. */
import { PASSWORD, type Person, PROJECTS_PER_PERSON, TASKS_PER_PROJECT } from './data.ts';

const REMOTE_PEOPLE = 8;

/** Registers a few people, each with as many projects and tasks as in the fixed data. */
export async function registerPeople(url: string): Promise<Person[]> {
  const run = crypto.randomUUID().slice(0, 8);
  const people: Person[] = [];
  for (let n = 0; n < REMOTE_PEOPLE; n += 1) people.push(await register(url, `bench-${run}-${n}`));
  return people;
}

async function register(url: string, username: string): Promise<Person> {
  const account = { username, email: `${username}@example.org`, password: PASSWORD };
  const { id } = await post(url, '/users/register', account);
  const { access_token = '' } = await post(url, '/users/login', { username, password: PASSWORD });
  const projects: Person['projects'] = [];
  for (let n = 0; n < PROJECTS_PER_PERSON; n += 1) {
    const project = await post(url, '/projects/', { name: `Project ${n}` }, access_token);
    for (let task = 0; task < TASKS_PER_PROJECT; task += 1) {
      const fields = { title: `Task ${task}`, description: `Do the thing number ${task}` };
      await post(url, `/tasks/projects/${project.id}`, fields, access_token);
    }
    projects.push({ id: String(project.id), task_ids: [] });
  }
  return { id: String(id), username, access_token, address: '10.1.0.1', projects };
}

async function post(url: string, path: string, body: object, token?: string) {
  const answer = await fetch(url + path, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`POST ${path} answered ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Record<string, string>;
}

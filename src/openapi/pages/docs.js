// The reference at /docs: a page for each guide and each operation, with a form that sends the request.
import { base, loadDocument, operationsOf } from './document.js';
import { samples } from './samples.js';
import { currentToken, logIn, logOut, remember, remembered, session } from './session.js';

const api = await loadDocument();
const operations = operationsOf(api);
const [start, ...sections] = api.info.description.split(/^## /m);
const guides = [['Introduction', start], ...sections.map(split)];
const main = document.querySelector('main');
const nav = document.querySelector('nav');

/** @returns the heading and the text of a guide. */
function split(section) {
  const end = section.indexOf('\n');
  return [section.slice(0, end), section.slice(end + 1)];
}

// --- Pages ---------------------------------------------------------------------------------------

function showPage() {
  const [kind, name] = decodeURIComponent(location.hash.slice(1)).split('/');
  const operation = operations.find((one) => one.operation.operationId === name);
  const guide = guides.find(([title]) => title === name) ?? guides[0];
  document.body.classList.remove('menu');
  main.replaceChildren(
    ...(kind === 'operation' && operation ? operationPage(operation) : guidePage(guide)),
  );
  main.scrollTo(0, 0);
  for (const link of nav.querySelectorAll('a'))
    link.toggleAttribute('aria-current', link.hash === (location.hash || '#guide/Introduction'));
}

const guidePage = ([title, text]) => [
  el('h1', {}, title === 'Introduction' ? `${api.info.title} ${api.info.version}` : title),
  ...markdown(text),
  ...(title === 'Introduction' || title === 'Authentication' ? [logInForm()] : []),
];

function operationPage({ path, method, operation }) {
  const media = operation.requestBody?.content ?? {};
  const [mediaType] = Object.keys(media);
  const body = mediaType && media[mediaType];
  return [
    el('h1', {}, operation.summary),
    el('p', { className: 'path' }, badge(method), el('code', {}, path)),
    ...markdown(operation.description ?? ''),
    ...(operation.security.length === 0
      ? [el('p', { className: 'note' }, 'Needs no credentials.')]
      : []),
    tryIt({ path, method, operation, mediaType, body }),
    ...(body ? [el('h2', {}, 'Request body'), fieldTable(body.schema)] : []),
    el('h2', {}, 'Responses'),
    ...Object.entries(operation.responses).map(([status, response]) =>
      responseLine(status, resolve(response)),
    ),
  ];
}

function responseLine(status, { description, content = {} }) {
  const [[type, { schema, example, examples } = {}] = []] = Object.entries(content);
  const shown = example ?? Object.values(examples ?? {})[0]?.value;
  const text = typeof shown === 'string' ? shown : JSON.stringify(shown, null, 2);
  const isProblem = status >= '400';
  return el(
    'details',
    { className: isProblem ? 'response problem' : 'response', open: status < '300' },
    el('summary', {}, el('strong', {}, status), ' ', ...inline(description)),
    ...(type ? [el('p', { className: 'note' }, Object.keys(content).join(', '))] : []),
    ...(text ? [el('pre', {}, text)] : []),
    ...(schema && !isProblem ? [folded('Fields', fieldTable(schema))] : []),
  );
}

// --- Schemas -------------------------------------------------------------------------------------

const resolve = (part) =>
  part?.$ref
    ? {
        ...part.$ref
          .slice(2)
          .split('/')
          .reduce((inner, key) => inner[key], api),
        ...part,
      }
    : part;

function typeOf(schema) {
  const { type, format, enum: values, anyOf, oneOf, items } = resolve(schema);
  if (values) return values.map((one) => JSON.stringify(one)).join(' | ');
  if (anyOf ?? oneOf) return (anyOf ?? oneOf).map(typeOf).join(' | ');
  if (type === 'array') return `array of ${typeOf(items)}`;
  return format && format !== 'int32' ? format : (type ?? 'any');
}

/** The object that a list, a union or a reference is about. */
function objectOf(schema) {
  const { properties, items, anyOf, oneOf, ...rest } = resolve(schema);
  if (properties) return { properties, ...rest };
  const inner = items ?? (anyOf ?? oneOf)?.find((one) => resolve(one).type !== 'null');
  return inner && objectOf(inner);
}

function fieldTable(schema) {
  const { oneOf } = resolve(schema);
  if (oneOf) return el('div', {}, ...oneOf.map((one) => fieldTable(one)));
  const object = objectOf(schema);
  if (!object) return el('p', {}, typeOf(schema));
  const rows = Object.entries(object.properties).map(([name, field]) => {
    const inner = objectOf(field);
    return el(
      'tr',
      {},
      el('td', {}, el('code', {}, name), object.required?.includes(name) ? '' : ' (optional)'),
      el(
        'td',
        {},
        el('span', { className: 'type' }, typeOf(field)),
        ...inline(resolve(field).description ?? ''),
        ...(inner ? [folded('Fields', variants(field))] : []),
      ),
    );
  });
  return el('table', {}, el('tbody', {}, ...rows));
}

function variants(field) {
  const item = resolve(resolve(field).items ?? field);
  return item.oneOf ? el('div', {}, ...item.oneOf.map(fieldTable)) : fieldTable(field);
}

// --- Try it --------------------------------------------------------------------------------------

function tryIt({ path, method, operation, mediaType, body }) {
  const inputs = operation.parameters.map((parameter) => {
    const input = parameterInput(parameter);
    return { parameter, input };
  });
  const text = body && el('textarea', { spellcheck: false, ariaLabel: 'Request body' });
  if (text) {
    text.value = JSON.stringify(body.example, withRemembered, 2);
    text.rows = Math.min(text.value.split('\n').length + 1, 18);
  }
  const build = () => requestOf({ path, method, mediaType, inputs, text, operation });
  const output = el('div', { className: 'output', ariaLive: 'polite' });
  const code = el('pre', { className: 'sample' });
  const languages = el('p', { className: 'tabs' });
  const showSample = () => {
    code.textContent = samples[remembered('language') ?? 'curl'](build());
    for (const tab of languages.children)
      tab.toggleAttribute('aria-pressed', tab.textContent === (remembered('language') ?? 'curl'));
  };
  languages.append(
    ...Object.keys(samples).map((language) =>
      el(
        'button',
        {
          type: 'button',
          onclick: () => {
            remember('language', language);
            showSample();
          },
        },
        language,
      ),
    ),
  );
  const form = el(
    'form',
    {
      oninput: showSample,
      onsubmit: (event) => {
        event.preventDefault();
        send(build(), operation, output);
      },
    },
    ...inputs.map(({ parameter, input }) =>
      el(
        'label',
        {},
        el('code', {}, parameter.name),
        parameter.required ? '' : ' (optional)',
        input,
        el('small', {}, ...inline(parameter.description ?? '')),
      ),
    ),
    ...(text ? [el('label', {}, el('code', {}, mediaType), text)] : []),
    el('button', { className: 'send' }, 'Send'),
  );
  showSample();
  const section = el('section', { className: 'try' }, form, output, languages, code);
  section.dataset.operation = operation.operationId;
  return section;
}

function parameterInput({ name, required, schema: given }) {
  const schema = resolve(given);
  if (schema.enum)
    return el(
      'select',
      { name, required },
      ...['', ...schema.enum].map((value) => el('option', { value }, value)),
    );
  const input = el('input', { name, required, autocomplete: 'off' });
  if (required) input.value = remembered(name) ?? '';
  return input;
}

/** Ids and tokens of the examples become those that this browser has seen, so that an example works. */
const withRemembered = (key, value) =>
  typeof value === 'string' && /_id$|^refresh_token$/.test(key)
    ? (remembered(key) ?? value)
    : value;

function requestOf({ path, method, mediaType, inputs, text, operation }) {
  const query = new URLSearchParams();
  const headers = {};
  let place = path;
  for (const { parameter, input } of inputs) {
    const { value } = input;
    if (parameter.in === 'path') {
      if (value) place = place.replace(`{${parameter.name}}`, encodeURIComponent(value));
    } else if (value && parameter.in === 'query') query.set(parameter.name, value);
    else if (value) headers[parameter.name] = value;
  }
  if (text) headers['Content-Type'] = mediaType;
  const search = query.size > 0 ? `?${query}` : '';
  return {
    method: method.toUpperCase(),
    url: base + place + search,
    headers,
    body: text?.value,
    isPublic: operation.security.length === 0,
  };
}

async function send({ method, url, headers, body, isPublic }, operation, output) {
  output.replaceChildren(el('p', {}, 'Sending…'));
  const token = isPublic ? undefined : await currentToken();
  const aborter = new AbortController();
  const started = performance.now();
  try {
    const response = await fetch(url, {
      method,
      headers: token ? { ...headers, Authorization: `Bearer ${token}` } : headers,
      body,
      signal: aborter.signal,
    });
    const isStream = response.headers.get('content-type')?.startsWith('text/event-stream');
    const received = el('pre', {});
    const stop = el('button', { type: 'button', onclick: () => aborter.abort() }, 'Stop');
    const show = () =>
      output.replaceChildren(
        el(
          'p',
          { className: response.ok ? 'status' : 'status failed' },
          `${response.status} ${response.statusText} · ${Math.round(performance.now() - started)} ms `,
          ...(isStream ? [stop] : []),
        ),
        received,
      );
    if (isStream) show();
    const text = isStream ? await readInto(received, response) : await response.text();
    received.textContent = text;
    if (!isStream) show();
    if (!/json/.test(response.headers.get('content-type') ?? '') || text === '') return;
    const value = JSON.parse(text);
    received.textContent = JSON.stringify(value, null, 2);
    if (response.ok) rememberIds(operation, value);
  } catch (error) {
    if (!aborter.signal.aborted) output.append(el('p', { className: 'failed' }, error.message));
  }
}

/** Shows a body as it arrives; a stream of changes has no end. */
async function readInto(place, response) {
  let text = '';
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    place.textContent = text;
  }
  return text;
}

/** Keeps ids for the next operation, and the tokens of a log-in. */
function rememberIds({ operationId, tags }, value) {
  if (value.access_token) session.set(value);
  const kinds = { Projects: 'project_id', Tasks: 'task_id', Sessions: 'session_id' };
  const own = operationId.includes('ApiToken') ? 'token_id' : kinds[tags[0]];
  const row = value.items?.[0] ?? value.results?.[0]?.task ?? value.project ?? value;
  if (own && row.id) remember(own, row.id);
  for (const key of ['project_id', 'user_id']) if (row[key]) remember(key, row[key]);
  drawLogIn();
}

// --- Log-in --------------------------------------------------------------------------------------

function logInForm() {
  const outcome = el('p', { className: 'failed', ariaLive: 'polite' });
  const username = el('input', { name: 'username', autocomplete: 'username', required: true });
  const password = el('input', {
    name: 'password',
    type: 'password',
    autocomplete: 'current-password',
    required: true,
  });
  return el(
    'form',
    {
      className: 'log-in',
      async onsubmit(event) {
        event.preventDefault();
        outcome.textContent = (await logIn(username.value, password.value)) ?? '';
        password.value = '';
        drawLogIn();
      },
    },
    el('h2', {}, 'Log in'),
    el('label', {}, 'User name or email', username),
    el('label', {}, 'Password', password),
    el('button', { className: 'send' }, 'Log in'),
    outcome,
  );
}

function drawLogIn() {
  const place = nav.querySelector('.who');
  const out = el(
    'button',
    {
      type: 'button',
      async onclick() {
        await logOut();
        drawLogIn();
      },
    },
    'Log out',
  );
  place.replaceChildren(
    ...(session.get()
      ? ['Logged in ', out]
      : [el('a', { href: '#guide/Authentication' }, 'Not logged in')]),
  );
}

// --- Navigation ----------------------------------------------------------------------------------

function drawNavigation() {
  const search = el('input', { type: 'search', placeholder: 'Search (/)', ariaLabel: 'Search' });
  const link = (href, words, ...content) =>
    el('li', { words: words.toLowerCase() }, el('a', { href }, ...content));
  const groups = [
    ['Guides', guides.map(([title, text]) => link(`#guide/${title}`, title + text, title))],
    ...api.tags.map(({ name }) => [
      name,
      operations
        .filter(({ operation }) => operation.tags.includes(name))
        .map(({ path, method, operation }) =>
          link(
            `#operation/${operation.operationId}`,
            [name, path, method, operation.summary, operation.description].join(' '),
            badge(method),
            operation.summary,
          ),
        ),
    ]),
  ].map(([title, links]) => el('section', {}, el('h2', {}, title), el('ul', {}, ...links)));
  search.oninput = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const group of groups) {
      for (const item of group.querySelectorAll('li'))
        item.hidden = !words.every((word) => item.words.includes(word));
      group.hidden = !group.querySelector('li:not([hidden])');
    }
  };
  addEventListener('keydown', (event) => {
    if (event.key !== '/' || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    event.preventDefault();
    search.focus();
  });
  document.querySelector('.menu-button').onclick = () => document.body.classList.toggle('menu');
  nav.replaceChildren(search, el('p', { className: 'who' }), ...groups);
  drawLogIn();
}

// --- Elements ------------------------------------------------------------------------------------

function el(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

const badge = (method) => el('span', { className: `method ${method}` }, method.toUpperCase());

const folded = (title, content) => el('details', {}, el('summary', {}, title), content);

/** Paragraphs and blocks of code: as much Markdown as the document has. */
function markdown(text) {
  return text
    .trim()
    .split(/\n\n+/)
    .filter(Boolean)
    .map((block) =>
      block.startsWith('```')
        ? el('pre', {}, block.replace(/^```\w*\n|\n```$/g, ''))
        : el('p', {}, ...inline(block)),
    );
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((piece) => {
    if (piece.startsWith('`')) return el('code', {}, piece.slice(1, -1));
    return piece.startsWith('**') ? el('strong', {}, piece.slice(2, -2)) : piece;
  });
}

drawNavigation();
addEventListener('hashchange', showPage);
showPage();

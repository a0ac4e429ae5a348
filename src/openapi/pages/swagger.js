// Swagger UI, with errors on one line each, in the colours of the system, and a log-in that survives a reload.
import { loadDocument } from './document.js';

const STORAGE_KEY = 'authorized';

const api = await loadDocument();
// The guides have pages of their own at /docs.
api.info.description = `${api.info.description.split('\n## ')[0]}\n\n[Guides and a faster view of this document](${new URL('../docs', import.meta.url)}).`;

const dark = matchMedia('(prefers-color-scheme: dark)');
const showTheme = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', showTheme);
showTheme();

forgetExpired();
const ui = globalThis.SwaggerUIBundle({
  // As an object: a URL would be parsed as YAML, which takes several times as long.
  spec: api,
  dom_id: '#swagger-ui',
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  filter: true,
  persistAuthorization: true,
  requestSnippetsEnabled: true,
  validatorUrl: null,
  plugins: [localReferences, compactErrors, plainFocus, searchOperations, forgetPassword],
});
// The token that was kept may expire while the page is open.
setInterval(() => forgetExpired() && ui.authActions.logout(['bearer', 'password']), 10_000);

/**
 * Swagger UI resolves each part that it shows by converting the whole document, which takes a second of CPU time. All
 * references of this document are local.
 */
function localReferences() {
  const find = (path) => path.reduce((part, key) => part?.[key], api);
  const inline = (part, within = []) => {
    if (Array.isArray(part)) return part.map((one) => inline(one, within));
    if (part === null || typeof part !== 'object' || within.includes(part.$ref)) return part;
    const { $ref, ...rest } = part;
    const own = Object.fromEntries(
      Object.entries(rest).map(([name, inner]) => [name, inline(inner, within)]),
    );
    if ($ref === undefined) return own;
    // `$$ref` says that this stands in the place of the reference.
    return { ...inline(find($ref.slice(2).split('/')), [...within, $ref]), ...own, $$ref: $ref };
  };
  const requestResolvedSubtree =
    (_, { specActions }) =>
    (path) =>
      specActions.updateResolvedSubtree(path, inline(find(path)));
  return { statePlugins: { spec: { wrapActions: { requestResolvedSubtree } } } };
}

/** Swagger UI keeps the whole form of a log-in in the local storage; this leaves the password out. */
function forgetPassword() {
  const authorizeOauth2 =
    (original) =>
    ({ auth: { password: _, ...auth }, token }) =>
      original({ auth, token });
  return { statePlugins: { auth: { wrapActions: { authorizeOauth2 } } } };
}

/** An error response is one line; a click opens it. */
function compactErrors({ React }) {
  const Details = ({ code, response, children }) => {
    const [isOpen, setOpen] = React.useState(false);
    if (isOpen) return children;
    const row = React.createElement;
    return row(
      'tr',
      { className: 'response compact', 'data-code': code, onClick: () => setOpen(true) },
      row('td', { className: 'response-col_status' }, code),
      row('td', { className: 'response-col_description', colSpan: 2 }, response.get('description')),
    );
  };
  return {
    wrapComponents: {
      response: (Original) => (props) => {
        const whole = React.createElement(Original, props);
        // In the live response, and for a success, everything is of interest.
        if (Number(props.code) < 400) return whole;
        return React.createElement(Details, props, whole);
      },
    },
  };
}

/**
 * Each way to authorize asks for the focus, and the last one gets it: the dialog would open scrolled past the user name.
 * Its field is the only one that is not an `Input`, so without theirs it has the focus.
 */
function plainFocus({ React }) {
  return {
    wrapComponents: {
      Input: (Input) => (props) => React.createElement(Input, { ...props, autoFocus: false }),
    },
  };
}

/** Swagger UI filters by the names of tags alone. */
function searchOperations() {
  const matches = (operation, phrase) =>
    [operation.get('path'), operation.getIn(['operation', 'summary']) ?? '']
      .join(' ')
      .toLowerCase()
      .includes(phrase.toLowerCase());
  return {
    fn: {
      opsFilter: (tags, phrase) =>
        tags
          .map((tag, name) =>
            name.toLowerCase().includes(phrase.toLowerCase())
              ? tag
              : tag.update('operations', (all) => all.filter((one) => matches(one, phrase))),
          )
          .filter((tag) => tag.get('operations').size > 0),
    },
  };
}

/** Drops the kept log-in once its access token has expired. */
function forgetExpired() {
  const kept = localStorage.getItem(STORAGE_KEY);
  if (kept === null) return false;
  const tokens = Object.values(JSON.parse(kept)).map((one) => one.token?.access_token ?? one.value);
  if (!tokens.some((token) => typeof token === 'string' && isExpired(token))) return false;
  localStorage.removeItem(STORAGE_KEY);
  return true;
}

/** An API token has no expiry that could be read from it. */
function isExpired(token) {
  const payload = token.split('.')[1];
  if (payload === undefined) return false;
  const { exp } = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')));
  return exp * 1000 < Date.now();
}

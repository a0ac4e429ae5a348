// The same request in three languages.

const placeholder = '<access token>';

const withToken = ({ headers, isPublic }) =>
  isPublic ? headers : { ...headers, Authorization: `Bearer ${placeholder}` };

/** For a POSIX shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(request) {
  const { method, url, body } = request;
  const lines = [`curl ${method === 'GET' ? '' : `-X ${method} `}${quoted(url)}`];
  for (const [name, value] of Object.entries(withToken(request)))
    lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) lines.push(`-d ${quoted(body)}`);
  return lines.join(' \\\n  ');
}

function javascript(request) {
  const { method, url, body } = request;
  const headers = JSON.stringify(withToken(request), null, 2).replaceAll('\n', '\n  ');
  return [
    `const response = await fetch(${JSON.stringify(url)}, {`,
    `  method: ${JSON.stringify(method)},`,
    `  headers: ${headers},`,
    ...(body === undefined ? [] : [`  body: JSON.stringify(${body.replaceAll('\n', '\n  ')}),`]),
    '});',
    'console.log(response.status, await response.text());',
  ].join('\n');
}

function python(request) {
  const { method, url, body } = request;
  const headers = JSON.stringify(withToken(request), null, 4).replaceAll('\n', '\n    ');
  return [
    'import requests',
    '',
    'response = requests.request(',
    `    ${JSON.stringify(method)},`,
    `    ${JSON.stringify(url)},`,
    `    headers=${headers},`,
    // As text, so that null, true and false are those of JSON.
    ...(body === undefined ? [] : [`    data=r"""${body}""".encode(),`]),
    ')',
    'print(response.status_code, response.text)',
  ].join('\n');
}

export const samples = { curl, JavaScript: javascript, Python: python };

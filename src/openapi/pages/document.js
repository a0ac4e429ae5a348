// What the two documentation pages share: the OpenAPI document, prepared for a person who tries it out.

/** The API, wherever a proxy has put it: this file is at `swagger/document.js` of it. */
export const base = new URL('..', import.meta.url).href.replace(/\/$/, '');

/** Returns the document with the URL that this page was loaded from, and without values for optional parameters. */
export async function loadDocument() {
  const served = await (await fetch(new URL('json', import.meta.url))).json();
  const [{ url }] = served.servers;
  const located = JSON.parse(JSON.stringify(served).replaceAll(`"${url}`, `"${base}`));
  for (const { operation } of operationsOf(located))
    operation.parameters = operation.parameters.map((parameter) =>
      parameter.required ? parameter : withoutValue(parameter),
    );
  return located;
}

/** Returns the operations in the order of the document. */
export const operationsOf = ({ paths }) =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );

/** A form would send an example or a default as if the person had typed it. The description keeps both. */
function withoutValue({ example, schema: { default: fallback, ...schema }, ...rest }) {
  const show = (value) => (Array.isArray(value) ? value.join(',') : value);
  const notes = [
    ...(fallback === undefined ? [] : [`Default: \`${show(fallback)}\`.`]),
    ...(example === undefined ? [] : [`Example: \`${show(example)}\`.`]),
  ];
  return { ...rest, schema, description: [rest.description, ...notes].join(' ') };
}

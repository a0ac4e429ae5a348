/** Which methods each path knows, read off the routes: for `Allow` (RFC 9110 §10.2.1). */
interface Route {
  method: string;
  path: string;
}

/** @returns a function from a path to its methods in order; empty for a path that no route has. */
export function methodsByPath(routes: readonly Route[]): (path: string) => string[] {
  const known = Map.groupBy(routes, ({ path }) => path.replace(/\/$/, ''));
  const patterns = [...known].map(([path, found]) => ({
    pattern: new RegExp(`^${path.replaceAll('.', '\\.').replace(/:\w+/g, '[^/]+')}/?$`),
    methods: withImplied(found.map(({ method }) => method)),
  }));
  return (path) =>
    [
      ...new Set(
        patterns.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => methods),
      ),
    ].sort();
}

/** GET answers HEAD, and every path answers OPTIONS. */
const withImplied = (methods: string[]) => [
  ...methods,
  'OPTIONS',
  ...(methods.includes('GET') ? ['HEAD'] : []),
];

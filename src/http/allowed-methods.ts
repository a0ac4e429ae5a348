/** Finds the methods of each path among the routes, for `Allow` (RFC 9110 §10.2.1). */
interface Route {
  method: string;
  path: string;
}

export interface AllowedMethods {
  /** Returns the methods of a path in order; empty for a path that no route has. */
  of(path: string): string[];
  /**
   * Returns the methods of a path that a route names letter by letter, such as `/tasks/batch`, which the router would
   * also take for `/tasks/{task_id}` in another method. Undefined for any other path.
   */
  ofFixedPath(path: string): string[] | undefined;
}

export function allowedMethodsByPath(routes: readonly Route[]): AllowedMethods {
  const methodsByPath = Map.groupBy(routes, ({ path }) => withoutSlash(path));
  const all = [...methodsByPath].map(([path, found]) => ({
    path,
    pattern: new RegExp(`^${path.replaceAll('.', '\\.').replace(/:\w+/g, '[^/]+')}/?$`),
    methods: withImpliedMethods(found.map(({ method }) => method)),
  }));
  const fixed = new Map(
    all.filter(({ path }) => !path.includes(':')).map(({ path, methods }) => [path, methods]),
  );
  const ofFixedPath = (path: string) => fixed.get(withoutSlash(path));
  return {
    ofFixedPath,
    of: (path) => ofFixedPath(path) ?? all.find(({ pattern }) => pattern.test(path))?.methods ?? [],
  };
}

const withoutSlash = (path: string) => path.replace(/\/$/, '');

/** Returns the methods with HEAD where there is GET, and with OPTIONS. */
const withImpliedMethods = (methods: string[]) =>
  [...methods, 'OPTIONS', ...(methods.includes('GET') ? ['HEAD'] : [])].sort();

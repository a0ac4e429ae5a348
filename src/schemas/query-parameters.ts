/** The query parameters that are no text, by name: a name has one type in all routes. */
import { ChangesQuery } from './events.ts';
import { AllTasksQuery } from './tasks.ts';
import { namesOfKind } from './types/query.ts';

/** Those that a query may repeat. */
export const listParameters: ReadonlySet<string> = new Set(namesOfKind('QueryList', AllTasksQuery));

export const integerParameters: ReadonlySet<string> = new Set(
  [AllTasksQuery, ChangesQuery].flatMap((query) => namesOfKind('QueryInteger', query)),
);

import { Elysia } from 'elysia';
import { catalogue } from '../errors/problem.ts';
import { operation } from '../openapi/operation.ts';
import type { OpenRoutes } from '../plugins/route-groups.ts';
import { ProblemExplanation, ProblemPath } from '../schemas/problems.ts';

/** Serves the path that the `type` of a problem names. */
export const problemCatalogue = (group: OpenRoutes) =>
  new Elysia({ prefix: '/problems', tags: ['Service'] }).use(group).get(
    '/:code',
    ({ params: { code }, set }) => {
      set.headers['cache-control'] = 'public, max-age=3600';
      return { code, ...catalogue[code] };
    },
    {
      params: ProblemPath,
      response: { 200: ProblemExplanation },
      detail: operation('explainProblem', 'Explain a problem code', {
        public: true,
        problems: ['not_found'],
      }),
    },
  );

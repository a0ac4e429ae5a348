import { Elysia } from 'elysia';
import type { Platform } from '../platform.ts';
import { operation } from '../plugins/operation.ts';
import { strictInput } from '../plugins/strict-input.ts';
import { catalogue } from '../problem.ts';
import { ProblemExplanation, ProblemPath } from '../schemas/problems.ts';

/** What `type` of a problem points to. */
export const problemCatalogue = ({ settings }: Platform) =>
  new Elysia({ prefix: '/problems', tags: ['Service'] })
    .use(strictInput(settings.body_limit_bytes))
    .get(
      '/:code',
      ({ params: { code }, set }) => {
        set.headers['cache-control'] = 'public, max-age=3600';
        return { code, ...catalogue[code] };
      },
      {
        params: ProblemPath,
        response: { 200: ProblemExplanation },
        detail: operation('explainProblem', 'What a problem code means', {
          public: true,
          problems: ['not_found'],
        }),
      },
    );

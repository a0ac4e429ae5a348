/** What every route has from its group, asked of each route, so that none can be added without it. */
import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';
import { type Operation, operations } from '../support/document.ts';

const api = useApi();

const pathOf = ({ path }: Operation) =>
  path.replace(/\{\w+\}/g, '019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23');

describe.each(operations.map((one) => [`${one.method} ${one.path}`, one] as const))(
  '%s',
  (_, operation) => {
    test('refuses a query that is not percent-encoded UTF-8, and one that repeats a parameter', async () => {
      const ada = await api.person();
      const send = (query: string) =>
        ada.request(operation.method, `${pathOf(operation)}?${query}`);
      expect((await send('a=%ff')).body.code).toBe('malformed_request');
      expect((await send('a=1&a=2')).body.errors).toEqual([
        { location: 'query.a', code: 'repeated', message: 'must be given once' },
      ]);
    });
  },
);

const withBody = operations.filter(({ requestBody }) => requestBody);

test.each(withBody.map((one) => [`${one.method} ${one.path}`, one] as const))(
  '%s refuses a body of another media type',
  async (_, operation) => {
    const ada = await api.person();
    const { body } = await ada.request(operation.method, pathOf(operation), undefined, {
      raw: '<a/>',
      headers: { 'content-type': 'application/xml' },
    });
    expect(body.code).toBe('unsupported_media_type');
  },
);

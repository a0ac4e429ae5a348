/**
 * The routes as a typed client (Eden) sees them. Elysia's own types know what a handler returns, but neither the problems that
 * plugins answer with nor that a parameter with a default may be left out. These types add both; nothing here runs.
 */
import type { Static } from '@sinclair/typebox';
import type { Elysia } from 'elysia';
import type { catalogue, ProblemCode } from '../errors/problem.ts';
import type { ProblemDocument } from './problems.ts';

type ProblemStatus = (typeof catalogue)[ProblemCode]['status'];

/** The codes that a status can have. */
type CodeOf<Status extends ProblemStatus> = {
  [Code in ProblemCode]: (typeof catalogue)[Code]['status'] extends Status ? Code : never;
}[ProblemCode];

type ProblemWith<Status extends ProblemStatus> = Omit<
  Static<typeof ProblemDocument>,
  'status' | 'code'
> & { status: Status; code: CodeOf<Status> };

type Problems = { [Status in ProblemStatus]: ProblemWith<Status> };

type Success = 200 | 201 | 202 | 204;

interface Route {
  body: unknown;
  params: unknown;
  query: unknown;
  headers: unknown;
  response: unknown;
}

/** A route with problems by status. No query parameter is required: each is optional or has a default. */
interface ClientRoute<R extends Route> {
  body: R['body'];
  params: R['params'];
  query: Partial<R['query']>;
  headers: R['headers'];
  response: { [Status in keyof R['response'] & Success]: R['response'][Status] } & Problems;
}

type ClientRoutes<Routes> = {
  [Segment in keyof Routes]: Routes[Segment] extends Route
    ? ClientRoute<Routes[Segment]>
    : ClientRoutes<Routes[Segment]>;
};

/** Returns the type of an app for `treaty`, without what only a server needs. */
export type ClientApp<App extends { '~Routes': unknown }> = Elysia<
  '',
  Elysia['~Singleton'],
  Elysia['~Definitions'],
  Elysia['~Metadata'],
  ClientRoutes<App['~Routes']>
>;

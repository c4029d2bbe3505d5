// One route: method, path, what it takes, what it answers, and the function behind it. The table of
// all routes is what the router serves, what /v1/openapi.json is made from and what the test of
// authentication walks: a route that is in none of them does not exist.

import type { z } from 'zod';
import type { AdminOptions } from './options.ts';

export interface RouteInput<Query, Body> {
  options: AdminOptions;
  /** Admin account that signed. */
  account: string;
  /** Decoded path parameters. */
  params: Record<string, string>;
  query: Query;
  body: Body;
  /** Media types that the caller takes, as sent. */
  accept: string;
  /** How far long work is; sent as a line of JSON where the caller takes that. */
  progress: (event: { objects: number; bytes: number }) => void;
  /** Aborted when the caller hangs up. */
  signal: AbortSignal;
}

/** An answer that is text instead of JSON. */
export interface TextAnswer {
  contentType: string;
  text: string;
}

export interface Route {
  /** operationId of the OpenAPI document; unique. */
  id: string;
  method: 'GET' | 'POST' | 'DELETE';
  /** Under /v1, parameters as `:name`. */
  path: string;
  summary: string;
  tag: string;
  status: number;
  query: z.ZodObject | undefined;
  body: z.ZodObject | undefined;
  answer: z.ZodType;
  /** True where NDJSON progress is offered. */
  streams: boolean;
  /** Media types besides JSON. */
  texts: readonly string[];
  handle: (input: RouteInput<unknown, unknown>) => Promise<object>;
}

interface RouteSpec<Query extends z.ZodObject, Body extends z.ZodObject> extends Omit<
  Route,
  'query' | 'body' | 'handle' | 'status' | 'streams' | 'texts'
> {
  status?: number;
  streams?: boolean;
  texts?: readonly string[];
  query?: Query;
  body?: Body;
  handle: (input: RouteInput<z.infer<Query>, z.infer<Body>>) => Promise<object>;
}

/** Ties the schemas of a route to the types that its function sees. */
export function route<Query extends z.ZodObject, Body extends z.ZodObject>(
  spec: RouteSpec<Query, Body>,
): Route {
  return {
    ...spec,
    status: spec.status ?? 200,
    streams: spec.streams ?? false,
    texts: spec.texts ?? [],
    query: spec.query,
    body: spec.body,
    // The router has parsed query and body by these very schemas before it calls.
    handle: (input) => spec.handle(input as RouteInput<z.infer<Query>, z.infer<Body>>),
  };
}

export function isTextAnswer(answer: object): answer is TextAnswer {
  return 'contentType' in answer && 'text' in answer;
}

/** The caller asks for this media type by name; JSON is for everybody else. */
export function isAsked(accept: string, mediaType: string): boolean {
  return accept.split(',').some((one) => one.split(';')[0]?.trim() === mediaType);
}

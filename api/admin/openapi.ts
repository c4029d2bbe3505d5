// The OpenAPI 3.1 document of the admin API, made from the table of routes and their schemas, so
// that it can't say what the server doesn't do.

import { z } from 'zod';
import type { Route } from './contract/route.ts';
import { errorAnswer } from './contract/schemas.ts';

type Json = Record<string, unknown>;

const schemaOf = (schema: z.ZodType, io: 'input' | 'output'): Json => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io }) as Json;
  return rest;
};

function parametersOf(route: Route): Json[] {
  const parameters: Json[] = [...route.path.matchAll(/:(\w+)/g)].map((match) => ({
    name: match[1],
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  if (route.query === undefined) return parameters;
  const query = schemaOf(route.query, 'input') as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  for (const [name, schema] of Object.entries(query.properties ?? {})) {
    const required = query.required?.includes(name) ?? false;
    parameters.push({ name, in: 'query', required, schema });
  }
  return parameters;
}

function operationOf(route: Route): Json {
  const content: Json = { 'application/json': { schema: schemaOf(route.answer, 'output') } };
  if (route.streams) {
    content['application/x-ndjson'] = {
      schema: {
        type: 'string',
        description: 'lines of {"progress":…}, then one {"result":…} or {"error":…}',
      },
    };
  }
  for (const type of route.texts) content[type] = { schema: { type: 'string' } };
  return {
    operationId: route.id,
    summary: route.summary,
    tags: [route.tag],
    parameters: parametersOf(route),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: { 'application/json': { schema: schemaOf(route.body, 'input') } },
          },
        }),
    responses: {
      [String(route.status)]: { description: 'done', content },
      default: {
        description: 'refused or failed',
        content: { 'application/json': { schema: schemaOf(errorAnswer, 'output') } },
      },
    },
  };
}

export function openApiDocument(routes: readonly Route[], version: string): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const path = `/v1${route.path.replace(/:(\w+)/g, '{$1}')}`;
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Firn admin API', version },
    security: [{ sigv4: [] }],
    paths,
    components: {
      securitySchemes: {
        sigv4: {
          type: 'apiKey',
          in: 'header',
          name: 'Authorization',
          description: "AWS Signature Version 4, service `firn`, an admin account's key pair",
        },
      },
    },
  };
}

// plan, apply, diff, explain, policy test.

import { z } from 'zod';
import type { PolicyAnswer, PolicyTestAnswer } from '../../../appliance/model/answers.ts';
import { parseTestCases, runTestCases } from '../../../policies/test-cases.ts';
import { applyOf, explainOf, planOf } from '../queries/plan.ts';
import { activeSet, diffAnswerOf, readPolicies } from '../queries/policy-sets.ts';
import { route } from '../contract/route.ts';
import type { Route } from '../contract/route.ts';
import { timeOf } from '../contract/rows.ts';
import * as schemas from '../contract/schemas.ts';

const files = schemas.policyFiles.max(1000);

export const policyRoutes: readonly Route[] = [
  route({
    id: 'plan',
    method: 'POST',
    path: '/plan',
    summary: 'What policy files would do to everything stored now; without files, the active ones',
    tag: 'policies',
    body: z.strictObject({ files: files.optional() }),
    answer: schemas.planAnswer,
    streams: true,
    handle: (input) => planOf(input.options, input.body.files, input),
  }),
  route({
    id: 'apply',
    method: 'POST',
    path: '/apply',
    summary: 'Make planned policy files the active ones, if the plan still holds',
    tag: 'policies',
    body: z.strictObject({
      plan: z.string().min(1),
      files: files.optional(),
      force: z.boolean().default(false),
    }),
    answer: schemas.applyAnswer,
    streams: true,
    handle: (input) => {
      const { plan: hash, files: given, force } = input.body;
      return applyOf(input.options, { account: input.account, hash, files: given, force }, input);
    },
  }),
  route({
    id: 'getPolicy',
    method: 'GET',
    path: '/policy',
    summary: 'The active policy files, and who applied them when',
    tag: 'policies',
    answer: schemas.policyAnswer,
    handle: async ({ options }): Promise<PolicyAnswer> => {
      const set = (await activeSet(options))?.value;
      return {
        revision: set?.revision ?? null,
        appliedAt: set === undefined ? null : timeOf(set.appliedAt),
        appliedBy: set?.appliedBy ?? null,
        planHash: set?.planHash ?? null,
        files: set?.files ?? [],
      };
    },
  }),
  route({
    id: 'diff',
    method: 'POST',
    path: '/diff',
    summary: 'Rules added, removed and changed against those in force',
    tag: 'policies',
    body: z.strictObject({ files }),
    answer: schemas.diffAnswer,
    handle: async ({ options, body }) => diffAnswerOf(await readPolicies(options, body.files)),
  }),
  route({
    id: 'explain',
    method: 'GET',
    path: '/explain',
    summary: 'Why one object is where it is, and what happens to it next',
    tag: 'policies',
    query: z.strictObject({
      bucket: z.string().min(1),
      key: z.string().min(1).max(1024),
      versionId: z.string().min(1).optional(),
    }),
    answer: schemas.explainAnswer,
    handle: ({ options, query }) => explainOf(options, query),
  }),
  route({
    id: 'testPolicy',
    method: 'POST',
    path: '/policy/test',
    summary: 'Run golden cases against policy files; without files, against those in force',
    tag: 'policies',
    body: z.strictObject({
      cases: z.strictObject({ name: z.string(), text: z.string().max(1_048_576) }),
      files: files.optional(),
    }),
    answer: schemas.policyTestAnswer,
    handle: async ({ options, body }): Promise<PolicyTestAnswer> => {
      const cases = parseTestCases(body.cases.name, body.cases.text);
      const { candidate } = await readPolicies(options, body.files);
      const results = await runTestCases(cases, candidate, options.classes);
      const passed = results.filter((one) => one.passed).length;
      return { passed, failed: results.length - passed, cases: results };
    },
  }),
];

// The reference evaluator: json-rules-engine runs whole rules as conditions. It costs about 400 µs
// an object with ten rules, 500 times the compiled closures, so it serves where being wrong is
// dear: each deletion, one move in a hundred, each explain. Loaded when first asked (its start
// costs 50 ms).
//
// Its engine keeps one run state: a second run that starts before the first has ended would be
// skipped in silence when the first ends (read in its source). So runs of one engine stand in line,
// and a run that does not answer for each rule is an error.

import { strict as assert } from 'node:assert';
import type { Engine } from 'json-rules-engine';
import { INTERNAL_FACTS, valueAt, type FactValue, type Moment } from './condition-facts.ts';
import type { Facts } from './facts.ts';
import { compileGlob, type TextTest } from './glob.ts';
import type { Condition } from './rule.ts';

export interface ReferenceRule {
  /** Unique in the engine. */
  name: string;
  condition: Condition;
}

export class ReferenceEngine {
  readonly #rules: readonly ReferenceRule[];
  #engine: Promise<Engine> | undefined;
  #line: Promise<unknown> = Promise.resolve();

  constructor(rules: readonly ReferenceRule[]) {
    this.#rules = rules;
  }

  /** Names of the rules that match. */
  matching(facts: Facts, moment: Moment): Promise<ReadonlySet<string>> {
    const run = this.#line.then(() => this.#run(facts, moment));
    this.#line = run.catch(() => undefined);
    return run;
  }

  async #run(facts: Facts, moment: Moment): Promise<ReadonlySet<string>> {
    if (this.#rules.length === 0) return new Set();
    this.#engine ??= buildEngine(this.#rules);
    const engine = await this.#engine;
    const values: Record<string, FactValue> = {};
    for (const [name, fact] of Object.entries(INTERNAL_FACTS)) {
      values[name] = fact.read(facts, moment);
    }
    const { results, failureResults } = await engine.run(values);
    assert.equal(results.length + failureResults.length, this.#rules.length, 'a rule was skipped');
    return new Set(results.map((result) => result.name));
  }
}

async function buildEngine(rules: readonly ReferenceRule[]): Promise<Engine> {
  const { Engine: EngineClass } = await import('json-rules-engine');
  const engine = new EngineClass([], {
    allowUndefinedFacts: true,
    pathResolver: (value, path) => valueAt(value as FactValue, path),
  });
  addOperators(engine);
  for (const { name, condition } of rules) {
    // The library's types know only mutable arrays and it keeps what it is given: hand it a copy.
    const conditions = structuredClone(condition) as never;
    engine.addRule({ name, conditions, event: { type: 'match' } });
  }
  return engine;
}

/** The engine's own notEqual and notIn hold on a missing fact: ours take their places. */
function addOperators(engine: Engine): void {
  const text = (name: string, holds: (fact: string, value: string) => boolean): void => {
    engine.addOperator<unknown, string>(
      name,
      (fact, value) => typeof fact === 'string' && holds(fact, value),
    );
  };
  engine.addOperator<unknown, unknown>(
    'notEqual',
    (fact, value) => fact !== undefined && fact !== value,
  );
  engine.addOperator<unknown, unknown[]>(
    'notIn',
    (fact, list) => fact !== undefined && !list.includes(fact),
  );
  engine.addOperator<unknown, boolean>('exists', (fact, value) => (fact !== undefined) === value);
  text('startsWith', (fact, value) => fact.startsWith(value));
  text('notStartsWith', (fact, value) => !fact.startsWith(value));
  text('endsWith', (fact, value) => fact.endsWith(value));
  text('notEndsWith', (fact, value) => !fact.endsWith(value));
  const globs = new Map<string, TextTest>();
  const matches = (fact: string, value: string): boolean => {
    let test = globs.get(value);
    if (test === undefined) globs.set(value, (test = compileGlob(value, 'whole')));
    return test(fact);
  };
  text('matches', matches);
  text('notMatches', (fact, value) => !matches(fact, value));
}

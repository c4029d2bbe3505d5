// YAML with a place for everything: parse, refuse what is doubtful (warnings, duplicate keys, deep
// nesting, alias bombs), check against a schema, and say file, line, column and remedy of each
// problem.

import { isMap, isNode, LineCounter, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import { FirnError } from '../../appliance/model/errors.ts';

export interface SourceProblem {
  file: string;
  line: number;
  column: number;
  message: string;
  hint: string;
}

const BYTES_MAX = 1024 * 1024;
const PROBLEMS_MAX = 20;

export class YamlSource {
  readonly #file: string;
  readonly #document: Document;
  readonly #lines: LineCounter;

  /** Throws PolicyInvalid. */
  constructor(file: string, text: string) {
    this.#file = file;
    this.#lines = new LineCounter();
    if (Buffer.byteLength(text) > BYTES_MAX) {
      throw this.error([this.#problem(0, 'the file is larger than 1 MiB', 'split it')]);
    }
    refuseDepth(file, text);
    try {
      this.#document = parseDocument(text, {
        lineCounter: this.#lines,
        version: '1.2',
        prettyErrors: false,
      });
    } catch (cause) {
      throw new FirnError('PolicyInvalid', `${file}: not readable as YAML`, {
        subject: file,
        cause,
      });
    }
    const { errors, warnings } = this.#document;
    const problems = [...errors, ...warnings].map((error) =>
      this.#problem(error.pos[0], error.message, 'correct the YAML; warnings count as errors'),
    );
    if (problems.length > 0) throw this.error(problems);
  }

  /** The value by the schema. Throws PolicyInvalid naming each problem. */
  check<T extends z.ZodType>(schema: T): z.output<T> {
    let value: unknown;
    try {
      value = this.#document.toJS({ maxAliasCount: 100 });
    } catch (cause) {
      throw new FirnError('PolicyInvalid', `${this.#file}: not usable YAML (aliases)`, {
        subject: this.#file,
        cause,
        hint: 'write the values out instead of by alias',
      });
    }
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    throw this.error(result.error.issues.flatMap((issue) => this.#problemsOf(issue, [])));
  }

  /** Line of a value, from 1. */
  lineOf(path: readonly PropertyKey[]): number {
    return this.#lines.linePos(this.#offsetOf(path)).line || 1;
  }

  /** For what a schema cannot say. */
  problemAt(path: readonly PropertyKey[], message: string, hint: string): SourceProblem {
    return this.#problem(this.#offsetOf(path), message, hint);
  }

  error(problems: readonly SourceProblem[]): FirnError {
    const shown = problems.slice(0, PROBLEMS_MAX);
    const lines = shown.map(
      ({ file, line, column, message, hint }) => `${file}:${line}:${column}: ${message} (${hint})`,
    );
    if (problems.length > shown.length) lines.push(`and ${problems.length - shown.length} more`);
    const [first] = problems;
    return new FirnError('PolicyInvalid', lines.join('\n'), {
      subject: first ? `${first.file}:${first.line}:${first.column}` : this.#file,
      ...(first ? { hint: first.hint } : {}),
    });
  }

  #problem(offset: number, message: string, hint: string): SourceProblem {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.#file, line: line || 1, column: col || 1, message, hint };
  }

  #problemsOf(issue: z.core.$ZodIssue, base: readonly PropertyKey[]): SourceProblem[] {
    const path = [...base, ...issue.path];
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) =>
        this.#problem(
          this.#offsetOf([...path, key], true),
          `unknown field '${key}'`,
          'remove it or correct its spelling; the README of policies lists every field',
        ),
      );
    }
    if (issue.code === 'invalid_union') {
      const inner = closest(issue.errors);
      if (inner !== undefined) return inner.flatMap((one) => this.#problemsOf(one, path));
    }
    const missing = issue.code === 'invalid_type' && this.#at(path) === undefined;
    const hint = hintOf(issue) ?? (missing ? 'add it' : 'see the README of policies');
    const last = path.at(-1);
    const message = missing ? `'${String(last)}' is missing` : describe(issue, path);
    return [this.#problem(this.#offsetOf(path), message, hint)];
  }

  #at(path: readonly PropertyKey[]): unknown {
    return path.length === 0 ? this.#document.contents : this.#document.getIn(path, true);
  }

  /** Where a value begins; where it is absent, its nearest parent. `key`: where its key begins. */
  #offsetOf(path: readonly PropertyKey[], key = false): number {
    for (let length = path.length; length > 0; length -= 1) {
      const parent = this.#at(path.slice(0, length - 1));
      const wanted = path[length - 1];
      if (key && length === path.length && isMap(parent)) {
        const pair = parent.items.find((item) => isNode(item.key) && String(item.key) === wanted);
        if (pair && isNode(pair.key) && pair.key.range) return pair.key.range[0];
      }
      const node = this.#at(path.slice(0, length));
      if (isNode(node) && node.range) return node.range[0];
    }
    const { contents } = this.#document;
    return isNode(contents) && contents.range ? contents.range[0] : 0;
  }
}

/**
 * Of a union, the one alternative that the value plainly meant: that knows its fields, and errs
 * least.
 */
function closest(errors: z.core.$ZodIssue[][]): z.core.$ZodIssue[] | undefined {
  const known = errors.filter((issues) =>
    issues.every((issue) => issue.path.length > 0 && issue.code !== 'unrecognized_keys'),
  );
  const least = Math.min(...known.map((issues) => issues.length));
  const found = known.filter((issues) => issues.length === least);
  return found.length === 1 ? found[0] : undefined;
}

function describe(issue: z.core.$ZodIssue, path: readonly PropertyKey[]): string {
  const where = path.length === 0 ? 'the file' : path.map(String).join('.');
  return `${where}: ${issue.message}`;
}

function hintOf(issue: z.core.$ZodIssue): string | undefined {
  if (issue.code === 'custom' && typeof issue.params?.['hint'] === 'string') {
    return issue.params['hint'];
  }
  if (issue.code === 'invalid_type' && issue.expected === 'number') {
    return 'write the number without quotes';
  }
  if (issue.code === 'invalid_type' && issue.expected === 'string') return 'write it in quotes';
  return undefined;
}

/** The parser recurses: 20,000 levels cost it most of a second before it gives up. */
function refuseDepth(file: string, text: string): void {
  let depth = 0;
  for (const character of text) {
    if (character === '[' || character === '{') depth += 1;
    else if (character === ']' || character === '}') depth -= 1;
    if (depth <= 200) continue;
    throw new FirnError('PolicyInvalid', `${file}: nested deeper than 200 levels`, {
      subject: file,
      hint: 'a policy needs a handful of levels',
    });
  }
}

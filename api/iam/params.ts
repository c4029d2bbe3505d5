// The form of an action: names and values, each once. What an action does not know is refused: a
// parameter that was skipped might have narrowed what it gave (a permissions boundary, a
// condition).

import { FirnError } from '../../appliance/model/errors.ts';

const PAIRS_MAX = 500;

export function validationError(message: string): FirnError {
  return new FirnError('ValidationError', message);
}

export class Params {
  readonly #values = new Map<string, string>();
  readonly #seen = new Set<string>(['Action', 'Version']);

  /** Throws ValidationError for a name that is there twice. */
  constructor(form: string) {
    const pairs = [...new URLSearchParams(form)];
    if (pairs.length > PAIRS_MAX) throw validationError('There are too many parameters.');
    for (const [name, value] of pairs) {
      if (this.#values.has(name)) throw validationError(`The parameter ${name} is there twice.`);
      this.#values.set(name, value);
    }
  }

  get(name: string): string | undefined {
    this.#seen.add(name);
    return this.#values.get(name);
  }

  need(name: string): string {
    const value = this.get(name);
    if (value === undefined || value === '') {
      throw validationError(`The request must contain the parameter ${name}.`);
    }
    return value;
  }

  /** A whole number between bounds. */
  integer(name: string, { from, to }: { from: number; to: number }): number | undefined {
    const text = this.get(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!/^\d{1,9}$/.test(text) || value < from || value > to) {
      throw validationError(`${name} must be a whole number from ${from} to ${to}.`);
    }
    return value;
  }

  /** name.member.1.field, name.member.2.field, … */
  members(name: string, field?: string): string[] {
    const values: string[] = [];
    for (let i = 1; ; i += 1) {
      const value = this.get(`${name}.member.${i}${field === undefined ? '' : `.${field}`}`);
      if (value === undefined) return values;
      values.push(value);
    }
  }

  /** Throws ValidationError where something was sent that nobody asked for. */
  checkAllSeen(): void {
    for (const name of this.#values.keys()) {
      if (!this.#seen.has(name)) {
        throw validationError(`The parameter ${name} is not supported by this action.`);
      }
    }
  }
}

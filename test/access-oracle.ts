// What AWS's documents say of access policies, written down once more and as naively as can be: the
// evaluator is compared with this on random policies. It shares no line with it: whole documents,
// regular expressions, no compiling, no shortcuts.

export interface Asked {
  principal: { kind: string; account: string; arn: string };
  action: string;
  resource: string;
  values: Record<string, string | string[] | undefined>;
}

type Json = Record<string, unknown>;
/** '?': can't be judged. */
type Maybe = boolean | '?';

const list = (value: unknown): string[] =>
  (Array.isArray(value) ? value : [value]).map((one) => String(one));

const not = (one: Maybe): Maybe => (one === '?' ? '?' : !one);
const or = (all: Maybe[]): Maybe => all.includes(true) || (all.includes('?') ? '?' : false);
const and = (all: Maybe[]): Maybe => not(or(all.map(not)));

/** What a variable stands for: nothing where there are several values. */
const alone = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? (value.length === 1 ? value[0] : undefined) : value;

const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);

/** `special`: what a star and a question mark become. */
function glob(pattern: string, text: string, how: Glob): Maybe {
  const { values, star, one, variables, flags = 'su' } = how;
  const build = (unset: string): RegExp =>
    new RegExp(
      `^${[...pattern.matchAll(/\$\{([^}]*)\}|[\s\S]/gu)]
        .map(([whole, name]) => {
          if (name !== undefined && variables) {
            if ('*?$'.includes(name)) return escaped(name);
            const value = alone(values[name.toLowerCase()]);
            return typeof value === 'string' ? escaped(value) : unset;
          }
          if (name !== undefined) return Array.from(whole, plain).join('');
          return plain(whole);
        })
        .join('')}$`,
      flags,
    );
  const plain = (c: string): string => (c === '*' ? star : c === '?' ? one : escaped(c));
  const names = variables ? [...pattern.matchAll(/\$\{([^}*?$]+)\}/g)].map((m) => m[1] ?? '') : [];
  if (names.every((name) => alone(values[name.toLowerCase()]) !== undefined)) {
    return build('').test(text);
  }
  return build('.*').test(text) ? '?' : false;
}

interface Glob {
  values: Asked['values'];
  star: string;
  one: string;
  variables: boolean;
  flags?: string;
}

function arnLike(pattern: string, text: string, how: Glob): Maybe {
  if (pattern === '*') return true;
  const split = (arn: string): string[] =>
    /^(.*?):(.*?):(.*?):(.*?):(.*?):(.*)$/s.exec(arn)?.slice(1) ?? [];
  const [wanted, given] = [split(pattern), split(text)];
  if (given.length < 6) return false;
  return and(wanted.map((part, i) => glob(part, given[i] ?? '', how)));
}

const WILD = { star: '.*', one: '.' };
const PLAIN = { star: String.raw`\*`, one: String.raw`\?` };

function compare(
  operator: string,
  { ruled, value, how }: { ruled: string; value: string; how: Glob },
): Maybe {
  if (operator.startsWith('Arn')) return arnLike(ruled, value, { ...how, ...WILD });
  if (operator.endsWith('Like')) return glob(ruled, value, { ...how, ...WILD });
  if (operator.endsWith('IgnoreCase')) {
    return glob(ruled, value, { ...how, ...PLAIN, flags: 'sui' });
  }
  if (operator.startsWith('String')) return glob(ruled, value, { ...how, ...PLAIN });
  if (operator === 'Bool') {
    return /^(true|false)$/i.test(value) ? value.toLowerCase() === ruled.toLowerCase() : '?';
  }
  if (operator.endsWith('IpAddress')) {
    const [range = '', bits = '32'] = ruled.split('/');
    const number = (ip: string): bigint =>
      ip.split('.').reduce((sum, n) => sum * 256n + BigInt(n), 0n);
    if (!/^\d+\.\d+\.\d+\.\d+$/.test(value)) return /^[0-9a-f:]+::/.test(value) ? false : '?';
    const shift = 32n - BigInt(bits);
    return number(value) >> shift === number(range) >> shift;
  }
  const read = (text: string): number => {
    if (!operator.startsWith('Date')) return Number(text);
    if (/^\d{4}-/.test(text)) return Date.parse(text) / 1000;
    return /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  };
  const [a, b] = [read(value), read(ruled)];
  if (value === '' || Number.isNaN(a)) return '?';
  if (operator.endsWith('LessThan')) return a < b;
  if (operator.endsWith('LessThanEquals')) return a <= b;
  if (operator.endsWith('GreaterThan')) return a > b;
  if (operator.endsWith('GreaterThanEquals')) return a >= b;
  return a === b;
}

function condition(
  name: string,
  {
    key,
    ruled,
    asked,
    variables,
  }: { key: string; ruled: string[]; asked: Asked; variables: boolean },
): Maybe {
  if (key.startsWith('unknown:')) return '?';
  const given = asked.values[key.toLowerCase()];
  const values = given === undefined ? [] : list(given);
  if (name === 'Null') return ruled.includes(String(values.length === 0));
  const quantifier = /^(ForAllValues|ForAnyValue):/.exec(name)?.[1];
  const operator = name.replace(/^.*:/, '').replace(/IfExists$/, '');
  const isNegated = operator.includes('Not');
  const how = { values: asked.values, variables, ...PLAIN };
  const fits = (value: string): Maybe => {
    const one = or(
      ruled.map((each) => compare(operator.replace('Not', ''), { ruled: each, value, how })),
    );
    return isNegated ? not(one) : one;
  };
  const seen = quantifier === undefined ? values : values.filter((value) => value !== '');
  if (seen.length === 0) {
    if (name.endsWith('IfExists')) return true;
    return quantifier === undefined ? isNegated : quantifier === 'ForAllValues';
  }
  const all = seen.map(fits);
  if (quantifier === 'ForAllValues') return and(all);
  if (quantifier === 'ForAnyValue') return or(all);
  return isNegated ? and(all) : or(all);
}

function named(
  element: unknown,
  { kind, account, arn }: Asked['principal'],
): 'self' | 'account' | 'no' {
  if (element === '*') return 'self';
  const all = list((element as Json)['AWS']);
  if (all.includes('*') || (kind !== 'anonymous' && all.includes(arn))) return 'self';
  const root = `arn:aws:iam::${account}:root`;
  if (kind === 'anonymous' || !(all.includes(account) || all.includes(root))) return 'no';
  return kind === 'account' ? 'self' : 'account';
}

/** deny, allow, delegated or undefined, of a whole document. */
export function judge(
  document: { Version: string; Statement: Json[] },
  asked: Asked,
): string | undefined {
  const variables = document.Version === '2012-10-17';
  const how = { values: asked.values, variables, ...WILD };
  const hits: string[] = [];
  for (const statement of document.Statement) {
    const { Effect: effect } = statement;
    const parts: Maybe[] = [];
    const action = (pattern: string): Maybe =>
      glob(pattern.toLowerCase(), asked.action.toLowerCase(), { ...how, variables: false });
    parts.push(
      'Action' in statement
        ? or(list(statement['Action']).map(action))
        : not(or(list(statement['NotAction']).map(action))),
    );
    const resource = (pattern: string): Maybe => arnLike(pattern, asked.resource, how);
    parts.push(
      'Resource' in statement
        ? or(list(statement['Resource']).map(resource))
        : not(or(list(statement['NotResource']).map(resource))),
    );
    let who = 'self';
    if ('NotPrincipal' in statement) {
      parts.push(named(statement['NotPrincipal'], asked.principal) !== 'self');
    } else if ('Principal' in statement) {
      who = named(statement['Principal'], asked.principal);
      parts.push(who !== 'no');
    }
    for (const [name, keys] of Object.entries(
      (statement['Condition'] ?? {}) as Record<string, Json>,
    )) {
      for (const [key, ruled] of Object.entries(keys)) {
        // Each condition is settled by itself: an unjudged one does not wait for the others.
        const one = condition(name, { key, ruled: list(ruled), asked, variables });
        parts.push(one === '?' ? effect === 'Deny' : one);
      }
    }
    const applies = and(parts);
    if (applies === true || (applies === '?' && effect === 'Deny')) {
      hits.push(effect === 'Deny' ? 'deny' : who === 'self' ? 'allow' : 'delegated');
    }
  }
  return ['deny', 'allow', 'delegated'].find((verdict) => hits.includes(verdict));
}

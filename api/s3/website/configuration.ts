// The website configuration of a bucket: checked when it is put, read when a page is asked for. The
// danger: a redirect that carries a control character becomes a header of its own, and one to
// anywhere becomes a trap; hosts, protocols and codes are therefore exact.

import { FirnError } from '../../../appliance/model/errors.ts';
import { malformed, parseXml, type XmlElement } from '../xml/parse.ts';
import { canonicalDocument, checked, childText, fields } from '../xml/shape.ts';
import { many, maybe, oneOf, text } from '../xml/shape.ts';

const RULES_MAX = 50;
const ROOT = 'WebsiteConfiguration';

export interface Redirect {
  hostName?: string;
  protocol?: 'http' | 'https';
  replaceKeyWith?: string;
  replaceKeyPrefixWith?: string;
  status: number;
}

export interface RoutingRule {
  keyPrefix: string | undefined;
  /** Of the answer that it takes the place of; undefined: before anything is looked for. */
  errorStatus: number | undefined;
  redirect: Redirect;
}

export type Website =
  | { kind: 'redirect'; hostName: string; protocol: 'http' | 'https' | undefined }
  | { kind: 'pages'; index: string; errorKey: string | undefined; rules: RoutingRule[] };

const hostName = text({
  to: 260,
  form: /^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?$/,
});
const protocol = oneOf('http', 'https');
// oxlint-disable-next-line no-control-regex
const key = text({ from: 0, to: 1024, form: /^[^\u0000-\u001f\u007f]*$/ });
const status = text({ to: 3, form: /^\d{3}$/ });

const rule = fields({
  Condition: maybe(
    checked(
      fields({ KeyPrefixEquals: maybe(key), HttpErrorCodeReturnedEquals: maybe(status) }),
      (given) => {
        if (given.children.length === 0) throw malformed('a Condition says something');
        requireStatus(childText(given, 'HttpErrorCodeReturnedEquals'), /^[45]/, '4XX or 5XX');
      },
    ),
  ),
  Redirect: checked(
    fields({
      Protocol: maybe(protocol),
      HostName: maybe(hostName),
      ReplaceKeyPrefixWith: maybe(key),
      ReplaceKeyWith: maybe(key),
      HttpRedirectCode: maybe(status),
    }),
    (given) => {
      if (given.children.length === 0) throw malformed('a Redirect says something');
      requireStatus(childText(given, 'HttpRedirectCode'), /^30[12378]/, '301, 302, 303, 307, 308');
      const both = ['ReplaceKeyPrefixWith', 'ReplaceKeyWith'].every(
        (name) => childText(given, name) !== undefined,
      );
      if (both) {
        throw invalid('You can only define ReplaceKeyPrefix or ReplaceKey but not both.');
      }
    },
  ),
});

const website = checked(
  fields({
    RedirectAllRequestsTo: maybe(fields({ HostName: hostName, Protocol: maybe(protocol) })),
    IndexDocument: maybe(fields({ Suffix: key })),
    ErrorDocument: maybe(fields({ Key: key })),
    RoutingRules: maybe(fields({ RoutingRule: many(rule, 1, 10 * RULES_MAX) })),
  }),
  (given) => {
    const redirects = child(given, 'RedirectAllRequestsTo') !== undefined;
    if (redirects && given.children.length > 1) {
      throw malformed('RedirectAllRequestsTo stands alone');
    }
    if (!redirects) checkPages(given);
  },
);

function checkPages(given: XmlElement): void {
  const index = child(given, 'IndexDocument');
  if (index === undefined) throw argument('IndexDocument', 'A value must be provided');
  const suffix = childText(index, 'Suffix') ?? '';
  if (suffix === '' || suffix.includes('/')) {
    throw argument('IndexDocument', 'The IndexDocument Suffix is not well formed');
  }
  const error = child(given, 'ErrorDocument');
  if (error !== undefined && childText(error, 'Key') === '') {
    throw argument('ErrorDocument', 'The ErrorDocument Key is not well formed');
  }
  const count = child(given, 'RoutingRules')?.children.length ?? 0;
  if (count > RULES_MAX) {
    throw invalid(`${count} routing rules were provided; there may be ${RULES_MAX}.`);
  }
}

function child(given: XmlElement, name: string): XmlElement | undefined {
  return given.children.find((one) => one.name === name);
}

function invalid(message: string): FirnError {
  return new FirnError('InvalidRequest', message);
}

function argument(name: string, message: string): FirnError {
  return new FirnError('InvalidArgument', message, { details: { ArgumentName: name } });
}

function requireStatus(code: string | undefined, form: RegExp, known: string): void {
  if (code === undefined || form.test(code)) return;
  throw invalid(`The provided HTTP code (${code}) is not valid. Valid codes are ${known}.`);
}

/** In canonical form. Throws MalformedXML, InvalidArgument, InvalidRequest. */
export function websiteXmlOf(bytes: Uint8Array): string {
  return canonicalDocument(parseXml(bytes, ROOT), website);
}

/** Each may be of half a MiB. */
const KEPT_MAX = 100;
const kept = new Map<string, Website>();

/** What websiteXmlOf made. Parsed once a text. */
export function websiteOf(xml: string): Website {
  const known = kept.get(xml);
  if (known !== undefined) return known;
  if (kept.size >= KEPT_MAX) kept.clear();
  const made = read(parseXml(Buffer.from(xml), ROOT));
  kept.set(xml, made);
  return made;
}

function read(root: XmlElement): Website {
  const all = child(root, 'RedirectAllRequestsTo');
  if (all !== undefined) {
    return {
      kind: 'redirect',
      hostName: childText(all, 'HostName') ?? '',
      protocol: protocolOf(all),
    };
  }
  const error = child(root, 'ErrorDocument');
  return {
    kind: 'pages',
    index: childText(child(root, 'IndexDocument') as XmlElement, 'Suffix') ?? '',
    errorKey: error && childText(error, 'Key'),
    rules: (child(root, 'RoutingRules')?.children ?? []).map(ruleOf),
  };
}

function protocolOf(given: XmlElement): 'http' | 'https' | undefined {
  const name = childText(given, 'Protocol');
  return name === 'http' || name === 'https' ? name : undefined;
}

function ruleOf(given: XmlElement): RoutingRule {
  const condition = child(given, 'Condition');
  const to = child(given, 'Redirect') as XmlElement;
  const errorStatus = condition && childText(condition, 'HttpErrorCodeReturnedEquals');
  const redirect: Redirect = { status: Number(childText(to, 'HttpRedirectCode') ?? 301) };
  const host = childText(to, 'HostName');
  const scheme = protocolOf(to);
  const whole = childText(to, 'ReplaceKeyWith');
  const prefix = childText(to, 'ReplaceKeyPrefixWith');
  if (host !== undefined) redirect.hostName = host;
  if (scheme !== undefined) redirect.protocol = scheme;
  if (whole !== undefined) redirect.replaceKeyWith = whole;
  if (prefix !== undefined) redirect.replaceKeyPrefixWith = prefix;
  return {
    keyPrefix: condition && childText(condition, 'KeyPrefixEquals'),
    errorStatus: errorStatus === undefined ? undefined : Number(errorStatus),
    redirect,
  };
}

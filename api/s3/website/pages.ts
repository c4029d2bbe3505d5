// Where a visitor is sent and what page says so: pure text. Every address begins with a host,
// because one that begins with a key would be another site's where the key begins with a slash.

import { encodePath } from '../../../appliance/model/signature.ts';
import type { Answer } from '../request/request.ts';
import { escapeText } from '../xml/write.ts';
import type { Redirect, RoutingRule } from './configuration.ts';

/** The rule for this key: with `errorStatus` of those for this answer, else of those for none. */
export function ruleFor(
  rules: readonly RoutingRule[],
  key: string,
  errorStatus?: number,
): RoutingRule | undefined {
  return rules.find(
    (rule) => rule.errorStatus === errorStatus && key.startsWith(rule.keyPrefix ?? ''),
  );
}

/** The address without a protocol is in the visitor's own. */
export function addressOf(
  to: { hostName: string; protocol?: string | undefined },
  key: string,
): string {
  const scheme = to.protocol === undefined ? '' : `${to.protocol}:`;
  return `${scheme}//${to.hostName}/${encodePath(key)}`;
}

export function redirectOf(
  { keyPrefix = '', redirect }: RoutingRule,
  key: string,
  host: string,
): Answer {
  return redirected(
    redirect.status,
    addressOf(
      { hostName: redirect.hostName ?? host, protocol: redirect.protocol },
      replaced(redirect, keyPrefix, key),
    ),
  );
}

function replaced(redirect: Redirect, keyPrefix: string, key: string): string {
  if (redirect.replaceKeyWith !== undefined) return redirect.replaceKeyWith;
  if (redirect.replaceKeyPrefixWith === undefined) return key;
  return redirect.replaceKeyPrefixWith + key.slice(keyPrefix.length);
}

export function redirected(status: number, location: string): Answer {
  return { status, headers: ['Location', location] };
}

export interface Failure {
  status: number;
  code: string;
  message: string;
  /** Headers that say more, name and value by turns. */
  headers: string[];
}

/** A page for people; nothing of the request stands in it unescaped. */
export function failurePage(failure: Failure, requestId: string): Answer {
  const { status, code, message } = failure;
  const title = escapeText(`${status} ${code}`);
  const body = Buffer.from(
    `<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>${title}</title></head>\n` +
      `<body>\n<h1>${title}</h1>\n<p>${escapeText(message)}</p>\n` +
      `<p>Request: ${escapeText(requestId)}</p>\n</body>\n</html>\n`,
  );
  return {
    status,
    headers: [
      ...failure.headers,
      'x-amz-error-code',
      code,
      'Content-Type',
      'text/html; charset=utf-8',
      'X-Content-Type-Options',
      'nosniff',
    ],
    body,
    sizeBytes: body.length,
  };
}

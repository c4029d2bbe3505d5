// Key pairs from a credentials file in the format that the aws CLI reads, so that one file serves
// both: `[profile]` sections with aws_access_key_id and aws_secret_access_key.

import { readFileSync } from 'node:fs';
import { FirnError } from '../../model/errors.ts';

export interface KeyPairInHand {
  accessKey: string;
  secretKey: string;
}

/** The profile's key pair; undefined if the text has no such whole profile. */
export function parseCredentials(text: string, profile: string): KeyPairInHand | undefined {
  let current = '';
  const values = new Map<string, string>();
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const section = /^\[(?:profile\s+)?([^\]]+)\]$/.exec(line);
    if (section !== null) {
      current = (section[1] ?? '').trim();
      continue;
    }
    const at = line.indexOf('=');
    if (at < 0 || current !== profile) continue;
    values.set(line.slice(0, at).trim().toLowerCase(), line.slice(at + 1).trim());
  }
  const accessKey = values.get('aws_access_key_id');
  const secretKey = values.get('aws_secret_access_key');
  return accessKey && secretKey ? { accessKey, secretKey } : undefined;
}

/** Reads the file. Every way this fails says which file and what to do; none shows a secret. */
export function readKeyPair(file: string, profile: string): KeyPairInHand {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const denied = (cause as NodeJS.ErrnoException).code === 'EACCES';
    throw new FirnError('AccessDenied', `cannot read the credentials file ${file}`, {
      subject: file,
      cause,
      hint: denied
        ? 'only the user that runs Firn may read it: become that one, or use --credentials FILE'
        : 'the first start of Firn writes it; start Firn, or name another file by --credentials',
    });
  }
  const pair = parseCredentials(text, profile);
  if (pair !== undefined) return pair;
  throw new FirnError('AccessDenied', `${file} has no whole profile "${profile}"`, {
    subject: file,
    hint: 'under that name belong aws_access_key_id and aws_secret_access_key; or use --profile',
  });
}

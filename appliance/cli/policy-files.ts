// Policy files as named on a command line: files, or folders of which every .yaml and .yml counts,
// in the order of their names.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { PolicyText } from '../model/answers.ts';
import { FirnError } from '../model/errors.ts';

export function readPolicyFiles(paths: readonly string[]): PolicyText[] {
  return paths.flatMap((path) => {
    const names = isFolder(path) ? yamlFiles(path) : [path];
    return names.map((name) => ({ name, text: readText(name) }));
  });
}

export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new FirnError('UsageError', `cannot read ${path}`, {
      subject: path,
      cause,
      hint: `${(cause as NodeJS.ErrnoException).code ?? 'error'}: name a file that you may read`,
    });
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function yamlFiles(folder: string): string[] {
  const names = readdirSync(folder)
    .filter((name) => /\.ya?ml$/.test(name))
    .sort();
  if (names.length > 0) return names.map((name) => join(folder, name));
  throw new FirnError('UsageError', `${folder} holds no policy file`, {
    subject: folder,
    hint: 'a policy file ends in .yaml; deploy/policies has examples',
  });
}

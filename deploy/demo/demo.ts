// `./firn demo`: the whole life of a few thousand real objects on scratch data, in under two
// minutes: uploaded, planned, sunk from hot to warm to cold to archive, explained, quoted,
// restored, compared byte by byte, and paid for. It pretends nothing: a real server, real files,
// the same API as everybody's.

import { mkdirSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { countOf, durationText, sizeText } from '../../appliance/cli/terminal/human.ts';
import type { CliIo, DemoOptions } from '../../appliance/cli/io.ts';
import { paintFor } from '../../appliance/cli/terminal/table.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { KiB } from '../../appliance/model/limits.ts';
import { startScratchFirn } from './child.ts';
import type { ScratchFirn } from './child.ts';
import { BUCKET, openStage } from './stage.ts';
import type { Stage } from './stage.ts';
import { compare, cost, explain, planAndApply, restore, sink, tryToRead, upload } from './steps.ts';
import { defaultObjects, treeObjects } from './tree.ts';

/** One day behind each bound of the policy, so that every tier is seen. */
const DAYS = [40, 120, 400];

/** 0: every byte came back. 1: something failed or differs, and what is said. */
export async function runDemo(options: DemoOptions, io: CliIo): Promise<number> {
  const project = resolve(import.meta.dirname, '..', '..');
  const interrupt = io.signal === undefined ? ownInterrupt() : undefined;
  const signal = io.signal ?? (interrupt as Interrupt).signal;
  const startedAt = io.wall();
  const objects =
    options.tree === undefined
      ? await defaultObjects(project)
      : await treeObjects(resolve(options.tree));
  if (options.metadata !== undefined) ownDatabase(options.metadata, '');
  const data = scratchFolder(options.data);
  const bytes = objects.reduce((sum, one) => sum + one.sizeBytes, 0);
  io.stdout.write(
    `${paintFor(io.stdout).bold('Firn demo')}: ` +
      `${countOf(objects.length, 'object')}, ${sizeText(bytes)}, scratch data in ${data}\n`,
  );
  const metadata = options.metadata === undefined ? undefined : ownDatabase(options.metadata, data);
  let firn: ScratchFirn | undefined;
  let stage: Stage | undefined;
  const stop = async (): Promise<void> => {
    await stage?.admin.close();
    await stage?.s3.close();
    await firn?.stop();
    interrupt?.end();
  };
  try {
    firn = await startScratchFirn({ project, data, metadata, signal });
    stage = openStage({ io, firn, objects, signal });
    const store = metadata === undefined ? 'LMDB' : 'MongoDB';
    stage.heading('Start', `a real \`firn serve\` with metadata on ${store}`);
    stage.say(`  ready in ${durationText(io.wall() - startedAt)}: S3 at ${firn.s3Endpoint}`);
    const different = await play(stage, project);
    await stop();
    ending(stage, { data, metadata, startedAt });
    if (different === 0) return 0;
    io.stderr.write(
      `firn: ${countOf(different, 'object')} came back different: this is a bug in Firn.\n` +
        `      Keep ${data} and report it with ${firn.log}\n`,
    );
    return 1;
  } catch (error) {
    await stop();
    io.stderr.write(`The demo ends here; its data stays in ${data}\n`);
    throw error;
  }
}

/** Every step in turn. Answers how many objects came back with other bytes. */
async function play(stage: Stage, project: string): Promise<number> {
  await upload(stage);
  await planAndApply(stage, join(project, 'deploy', 'policies', 'demo.yaml'));
  await sink(stage, DAYS);
  const key = explained(stage);
  await explain(stage, key);
  await tryToRead(stage, key);
  await restore(stage);
  const different = await compare(stage);
  await cost(stage);
  return different.length;
}

/** The first object that is more than a stub. */
function explained(stage: Stage): string {
  const object = stage.objects.find((one) => one.sizeBytes >= KiB) ?? stage.objects[0];
  return object?.key ?? '';
}

/** How to look around, and how to be rid of it. */
function ending(
  stage: Stage,
  given: { data: string; metadata: string | undefined; startedAt: number },
): void {
  const { bold, dim } = stage.paint;
  const took = durationText(stage.io.wall() - given.startedAt);
  const { credentialsFile, s3Endpoint } = stage.firn;
  const credentials = shellText(credentialsFile);
  const config = shellText(stage.firn.config);
  const pack = firstPack(given.data);
  const lines: [string, string][] = [
    ['serve it again', `./firn serve --config ${config}`],
    ['look around', `./firn usage --config ${config}`],
    ['', `./firn explain ${shellText(`s3://${BUCKET}/${explained(stage)}`)} --config ${config}`],
    [
      'by the aws CLI',
      `AWS_SHARED_CREDENTIALS_FILE=${credentials} AWS_DEFAULT_REGION=us-east-1 \\\n` +
        `                    aws --endpoint-url ${s3Endpoint} s3 ls s3://${BUCKET}/ --recursive`,
    ],
  ];
  if (pack !== undefined) lines.push(['open a pack', `unzip -l ${shellText(pack)}`]);
  lines.push(['remove it all', `rm -r ${shellText(given.data)}`]);
  if (given.metadata !== undefined) {
    // The address may hold a password: only the database is named.
    const database = /^[^/]+\/\/[^/]+\/([^?]*)/.exec(given.metadata)?.[1] ?? '';
    lines.push(['', `and drop the database ${database} on your MongoDB`]);
  }
  stage.say(`\n${bold('Done')} in ${took}. Firn is stopped; its data stays:\n`);
  for (const [title, command] of lines) stage.say(`  ${dim(title.padEnd(18))}${command}`);
}

/** As a shell reads it: in quotes where it must be. */
function shellText(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function scratchFolder(named: string | undefined): string {
  if (named === undefined) return mkdtempSync(join(tmpdir(), 'firn-demo-'));
  const data = resolve(named);
  mkdirSync(data, { recursive: true });
  if (readdirSync(data).length === 0) return data;
  throw new FirnError('UsageError', `${data} is not empty`, {
    subject: data,
    hint: 'the demo starts from nothing: name a new folder, or remove that one',
  });
}

/**
 * A database of its own on the given server, whatever database the address names: a demo must never
 * meet an installation's rows. What the address named goes on being where its user is known.
 */
export function ownDatabase(url: string, data: string): string {
  const [, hosts, path = '', query = ''] =
    /^(mongodb(?:\+srv)?:\/\/[^/?]+)(?:\/([^?]*))?(?:\?(.*))?$/.exec(url) ?? [];
  if (hosts === undefined) {
    throw new FirnError('UsageError', 'this is no address of a MongoDB', {
      hint: 'give --metadata mongodb://HOST:PORT/',
    });
  }
  const options = query === '' ? [] : query.split('&');
  const named = options.some((option) => option.startsWith('authSource='));
  if (path !== '' && hosts.includes('@') && !named) options.push(`authSource=${path}`);
  const database = `firn-demo-${data.replace(/[^A-Za-z0-9]+/g, '').slice(-12)}`;
  return `${hosts}/${database}${options.length === 0 ? '' : `?${options.join('&')}`}`;
}

function firstPack(data: string): string | undefined {
  for (const tier of ['archive', 'cold']) {
    try {
      const names = readdirSync(join(data, tier), { recursive: true }) as string[];
      const zip = names.find((name) => name.endsWith('.zip'));
      if (zip !== undefined) return join(data, tier, zip);
    } catch {
      // The tier was never used.
    }
  }
  return undefined;
}

interface Interrupt {
  signal: AbortSignal;
  end(): void;
}

/** Ctrl-C ends the demo in order: the server is its child and must not outlive it. */
function ownInterrupt(): Interrupt {
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(new FirnError('ServiceUnavailable', 'interrupted: the demo was not finished'));
  process.once('SIGINT', abort);
  process.once('SIGTERM', abort);
  return {
    signal: controller.signal,
    end: () => {
      process.off('SIGINT', abort);
      process.off('SIGTERM', abort);
    },
  };
}

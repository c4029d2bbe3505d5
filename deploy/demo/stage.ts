// What the steps of the demo share: the clients, the outputs, and how a step is announced and told.

import { AdminClient } from '../../appliance/cli/client/admin-client.ts';
import { readKeyPair } from '../../appliance/cli/client/credentials.ts';
import { durationText } from '../../appliance/cli/terminal/human.ts';
import type { CliIo } from '../../appliance/cli/io.ts';
import { Progress } from '../../appliance/cli/terminal/progress.ts';
import { S3Client } from '../../appliance/cli/client/s3-client.ts';
import { paintFor } from '../../appliance/cli/terminal/table.ts';
import type { Paint } from '../../appliance/cli/terminal/output.ts';
import type { ScratchFirn } from './child.ts';
import type { DemoObject } from './tree.ts';

export const BUCKET = 'demo';
export const CONCURRENCY = 48;

export interface Stage {
  io: CliIo;
  paint: Paint;
  firn: ScratchFirn;
  admin: AdminClient;
  s3: S3Client;
  objects: readonly DemoObject[];
  bytes: number;
  say(text: string): void;
  heading(title: string, text: string): void;
  progress(label: string, unit: 'bytes' | 'objects', total: number): Progress;
}

export function openStage(given: {
  io: CliIo;
  firn: ScratchFirn;
  objects: readonly DemoObject[];
  signal: AbortSignal;
}): Stage {
  const { io, firn, objects, signal } = given;
  const keyPair = readKeyPair(firn.credentialsFile, 'default');
  const region = 'us-east-1';
  const client = { wall: io.wall, signal };
  const paint = paintFor(io.stdout);
  const say = (text: string): void => io.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
  let step = 0;
  return {
    io,
    paint,
    firn,
    objects,
    bytes: objects.reduce((sum, one) => sum + one.sizeBytes, 0),
    admin: new AdminClient({ adminEndpoint: firn.adminEndpoint, region }, keyPair, client),
    s3: new S3Client({
      endpoint: firn.s3Endpoint,
      region,
      credentials: keyPair,
      connections: CONCURRENCY,
      ...client,
    }),
    say,
    heading: (title, text) => {
      step += 1;
      say(`\n${paint.bold(`${step}. ${title}`)}  ${text}\n`);
    },
    progress: (label, unit, total) =>
      new Progress(io.stderr, { label, unit, total, wall: io.wall }),
  };
}

/** Indents every line of a block by two. */
export function indented(text: string): string {
  return text
    .split('\n')
    .map((line) => (line === '' ? line : `  ${line}`))
    .join('\n');
}

export function tookText(ms: number): string {
  return `in ${durationText(ms)}`;
}

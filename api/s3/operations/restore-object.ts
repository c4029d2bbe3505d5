// RestoreObject: asks for a readable copy of what is archived. 202 when work was started or sped
// up, 200 when a copy is there and its end was set anew.

import { FirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { StagePriority } from '../../../appliance/model/tier.ts';
import { invalidArgument, versionIdOf } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { childrenOf, integerOf, malformed, parseXml, textOf } from '../xml/parse.ts';

/** A hundred years: beyond, dates stop being useful. */
const DAYS_MAX = 36_500;

async function run(request: OwnedRequest): Promise<Answer> {
  const versionId = versionIdOf(request.query);
  const { days, tier } = wishOf(await request.payload.gather(XML_BYTES_MAX));
  const answer = await request.settings.engine.restoreObject({
    bucket: request.bucket,
    key: request.key,
    owner: request.identity.account,
    days,
    tier,
    ...(versionId !== undefined && { versionId }),
  });
  return { status: answer === 'extended' ? 200 : 202 };
}

function wishOf(bytes: Uint8Array): { days: number; tier: StagePriority } {
  const root = parseXml(bytes, 'RestoreRequest');
  const fields = childrenOf(root, [
    'Days',
    'Tier',
    'GlacierJobParameters',
    'Description',
    'Type',
    'SelectParameters',
    'OutputLocation',
  ]);
  for (const name of ['Type', 'SelectParameters', 'OutputLocation']) {
    if (fields.one(name) !== undefined) {
      throw new FirnError('NotImplemented', 'Restoring by a query is not implemented.');
    }
  }
  const days = integerOf(fields.one('Days'));
  if (days === undefined) throw malformed('Days is missing');
  if (days < 1 || days > DAYS_MAX) {
    throw invalidArgument(`Days must be from 1 to ${DAYS_MAX}`, 'Days', String(days));
  }
  const job = fields.one('GlacierJobParameters');
  const inner = job === undefined ? undefined : textOf(childrenOf(job, ['Tier']).one('Tier'));
  const tier = inner ?? textOf(fields.one('Tier')) ?? 'Standard';
  if (tier !== 'Expedited' && tier !== 'Standard' && tier !== 'Bulk') {
    throw malformed('Tier must be Expedited, Standard or Bulk');
  }
  return { days, tier };
}

export const restoreObject: Operation = {
  name: 'RestoreObject',
  method: 'POST',
  level: 'object',
  subresource: 'restore',
  access: 'bucket',
  action: 's3:RestoreObject',
  run,
};

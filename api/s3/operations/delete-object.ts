// DeleteObject: of a version for good, or of the current one as versioning says. An absent key is
// no error.

import type { DeleteAnswer, DeleteObject } from '../../../appliance/model/requests.ts';
import { bypassesGovernance } from '../access/object-lock.ts';
import { deleteConditionsOf } from '../request/conditions.ts';
import {
  actionOnVersion,
  versionIdOf,
  type Answer,
  type Operation,
  type OwnedRequest,
} from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const asked: DeleteObject = {
    bucket: request.bucket,
    key: request.key,
    owner: request.identity.account,
  };
  const versionId = versionIdOf(request.query);
  if (versionId !== undefined) asked.versionId = versionId;
  if (await bypassesGovernance(request, { key: request.key, versionId })) {
    asked.bypassGovernance = true;
  }
  const conditions = deleteConditionsOf(request.headers);
  if (conditions !== undefined) asked.conditions = conditions;
  return { status: 204, headers: headersOf(await request.settings.engine.deleteObject(asked)) };
}

function headersOf(answer: DeleteAnswer): string[] {
  const headers: string[] = [];
  if (answer.deleteMarker) headers.push('x-amz-delete-marker', 'true');
  if (answer.versionId !== undefined) headers.push('x-amz-version-id', answer.versionId);
  return headers;
}

export const deleteObject: Operation = {
  name: 'DeleteObject',
  method: 'DELETE',
  level: 'object',
  access: 'bucket',
  action: actionOnVersion('s3:DeleteObject'),
  run,
};

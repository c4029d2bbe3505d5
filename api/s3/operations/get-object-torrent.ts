// GetObjectTorrent: there are no torrents, and that is the answer S3 gives where there is none. A
// fixed answer keeps clients that ask from taking 501 for a broken server.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Operation } from '../request/request.ts';

export const getObjectTorrent: Operation = {
  name: 'GetObjectTorrent',
  method: 'GET',
  level: 'object',
  subresource: 'torrent',
  access: 'bucket',
  action: 's3:GetObjectTorrent',
  run: () => Promise.reject(new FirnError('NoSuchKey', 'There is no torrent of this object.')),
};

// The limits that large bodies are measured against: node:http that throws a body away, and that
// answers 64 MiB from memory. One process, no signature, no disk, nothing verified.

import { createServer } from 'node:http';
import { MiB } from '../../appliance/model/limits.ts';

const body = Buffer.alloc(64 * MiB, 7);
const server = createServer((request, response) => {
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  request.on('end', () => {
    const answer = request.method === 'PUT' ? undefined : body;
    response.writeHead(200, { 'x-amz-request-id': bytes, 'content-length': answer?.length ?? 0 });
    response.end(answer);
  });
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port });
});
process.on('disconnect', () => process.exit(0));

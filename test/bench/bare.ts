// The limit that small requests are measured against: the least that node:http can do and still be a
// server of such requests. Collects the body, answers ETag and a request id; a GET answers 4 KiB from
// memory. One process, no signature, no disk.

import { createServer } from 'node:http';

const body = Buffer.alloc(4096, 7);
let counter = 0;
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const id = (++counter).toString(16).padStart(16, '0');
    if (request.method === 'PUT') {
      Buffer.concat(chunks);
      response.writeHead(200, {
        etag: '"00000000000000000000000000000000"',
        'x-amz-request-id': id,
        'content-length': 0,
      });
      response.end();
    } else {
      response.writeHead(200, {
        etag: '"00000000000000000000000000000000"',
        'x-amz-request-id': id,
        'content-length': body.length,
      });
      response.end(body);
    }
  });
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port });
});
process.on('disconnect', () => process.exit(0));

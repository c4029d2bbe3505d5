// A TCP proxy before mongod that loses what it is told to lose: a request before the server has it,
// or the server's answer after it acted. To the client both look the same: the connection breaks,
// and the change is in doubt.

import { connect, createServer, type Server, type Socket } from 'node:net';

export type Loss = 'request' | 'answer';

export class WireTap {
  readonly #target: number;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #loss: { what: Loss; marker: Buffer; times: number } | undefined;
  /** How often something was lost. */
  lost = 0;

  constructor(target: number) {
    this.#target = target;
  }

  async open(): Promise<number> {
    const server = createServer((client) => this.#join(client));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as { port: number }).port;
  }

  /** The next `times` commands of this name are lost, or their answers. */
  lose(what: Loss, command: string, times: number): void {
    this.lost = 0;
    // A command's document begins with its name, a string element.
    this.#loss = { what, marker: Buffer.from(`\u0002${command}\0`), times };
  }

  #join(client: Socket): void {
    const server = connect(this.#target, '127.0.0.1');
    let isLosing = false;
    const cut = (): void => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', cut);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        cut();
      });
    }
    client.on('data', (chunk: Buffer) => {
      const loss = this.#loss;
      if (loss !== undefined && this.lost < loss.times && chunk.includes(loss.marker)) {
        this.lost += 1;
        if (loss.what === 'request') return cut();
        isLosing = true;
      }
      server.write(chunk);
      return undefined;
    });
    server.on('data', (chunk: Buffer) => {
      if (isLosing) cut();
      else client.write(chunk);
    });
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server?.close(resolve));
  }
}

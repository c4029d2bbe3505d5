// Builds the S3 endpoint from what the front door gives it.

import type { Server } from 'node:http';
import { AccessLog } from './access-log.ts';
import type { AdmissionState } from './input/admission.ts';
import { buildApplication, type Beside, type Handler } from './application.ts';
import { lifecycleExpiration } from './request/expiration.ts';
import { attachTo } from './server.ts';
import type { S3Settings } from './input/settings.ts';

export interface S3 {
  /** Serves one request; for servers that need nothing else. */
  handler: Handler;
  /**
   * Serves all of a server's requests: sets its limits and time-outs, answers 100 Continue only to
   * who may go on, and answers in XML what is not even HTTP.
   */
  attach(server: Server): void;
  /** Who is let in, for metrics. */
  admission(): AdmissionState;
  /** Writes what is left of access logs. Behind the last request. */
  close(): Promise<void>;
}

export function buildS3(given: S3Settings & Pick<Beside, 'actions'>): S3 {
  const { actions } = given;
  const settings = { ...given, expirationOf: given.expirationOf ?? lifecycleExpiration(given) };
  const { accessLogMs } = settings;
  const accessLog = accessLogMs === undefined ? undefined : new AccessLog(settings, accessLogMs);
  const application = buildApplication(settings, { accessLog, actions });
  return {
    close: async () => {
      application.close();
      await accessLog?.close();
    },
    handler: application.handler,
    admission: () => application.admission(),
    attach: (server) => attachTo(server, application, settings),
  };
}

// What a bucket asks to be told, told by the real appliance: created, removed, transition, expiration
// and restore events reach a webhook that was away for a while and a queue that a command asks, and
// access logs appear where they were asked for. A day lasts a second.

import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
  PutBucketLoggingCommand,
  PutBucketNotificationConfigurationCommand,
  PutObjectCommand,
  RestoreObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import test from 'ava';
import { runFirn, startFirn } from '../firn-process.ts';

interface S3Record {
  eventName?: string;
  s3?: { bucket: { name: string }; object: { key: string; versionId: string } };
}

async function until(what: string, done: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 45_000;
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`not within 45 s: ${what}`);
    await sleep(100);
  }
}

test('a webhook and a queue are told of everything that happens to objects, and a log of every request', async (t) => {
  const heard: S3Record[] = [];
  let isAway = true;
  const hook = http.createServer((request, response) => {
    let text = '';
    request.on('data', (piece: Buffer) => {
      text += piece.toString('utf8');
    });
    request.on('end', () => {
      if (!isAway) heard.push(...(JSON.parse(text) as { Records: S3Record[] }).Records);
      response.writeHead(isAway ? 503 : 200).end();
    });
  });
  await new Promise<void>((resolve) => hook.listen(0, '127.0.0.1', resolve));
  t.teardown(() => hook.close());
  const url = `http://127.0.0.1:${(hook.address() as AddressInfo).port}/`;
  const firn = await startFirn({
    settings: {
      processes: 1,
      notifications: { webhooks: { hook: { url } }, queues: ['line'] },
      accessLogSeconds: 0.5,
      transitions: { sizeFloor: false },
      lifecycleIntervalSeconds: 1,
      debug: { lifecycleDaySeconds: 1, restoreDaySeconds: 2 },
    },
  });
  t.teardown(() => firn.dispose());
  const s3 = new S3Client({
    endpoint: firn.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: firn.accessKey, secretAccessKey: firn.secretKey },
  });
  t.teardown(() => s3.destroy());
  for (const Bucket of ['media', 'logs']) await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(
    new PutBucketNotificationConfigurationCommand({
      Bucket: 'media',
      NotificationConfiguration: {
        TopicConfigurations: [
          {
            TopicArn: 'arn:firn:sns:us-east-1::hook',
            Events: ['s3:ObjectCreated:*', 's3:ObjectRemoved:*'],
          },
        ],
        QueueConfigurations: [
          {
            QueueArn: 'arn:firn:sqs:us-east-1::line',
            Events: ['s3:LifecycleTransition', 's3:LifecycleExpiration:*', 's3:ObjectRestore:*'],
          },
        ],
      },
    }),
  );
  await s3.send(
    new PutBucketLoggingCommand({
      Bucket: 'media',
      BucketLoggingStatus: { LoggingEnabled: { TargetBucket: 'logs', TargetPrefix: 'media/' } },
    }),
  );
  const put = (Key: string): Promise<unknown> =>
    s3.send(new PutObjectCommand({ Bucket: 'media', Key, Body: Key }));
  await put('gone');
  await s3.send(new DeleteObjectCommand({ Bucket: 'media', Key: 'gone' }));
  await put('cold/film');
  await put('tmp/scratch');
  await s3.send(
    new PutBucketLifecycleConfigurationCommand({
      Bucket: 'media',
      LifecycleConfiguration: {
        Rules: [
          {
            ID: 'sink',
            Status: 'Enabled',
            Filter: { Prefix: 'cold/' },
            Transitions: [{ Days: 1, StorageClass: 'GLACIER' }],
          },
          { ID: 'clean', Status: 'Enabled', Filter: { Prefix: 'tmp/' }, Expiration: { Days: 1 } },
        ],
      },
    }),
  );
  const queued: string[] = [];
  const receive = async (): Promise<void> => {
    const args = ['events', 'receive', 'line', '--max', '100', '--json', '--acknowledge'];
    const answer = await runFirn([...args, '--config', join(firn.directory, 'firn.yaml')]);
    t.is(answer.code, 0, answer.stderr);
    const { events } = JSON.parse(answer.stdout) as { events: { record: S3Record }[] };
    for (const { record } of events) {
      if (record.s3 !== undefined) queued.push(`${record.eventName} ${record.s3.object.key}`);
    }
  };
  const isQueued = async (event: string): Promise<boolean> => {
    await receive();
    return queued.includes(event);
  };
  await until('the transition', () => isQueued('LifecycleTransition cold/film'));
  await until('the expiry', () => isQueued('LifecycleExpiration:Delete tmp/scratch'));
  await s3.send(
    new RestoreObjectCommand({
      Bucket: 'media',
      Key: 'cold/film',
      RestoreRequest: { Days: 1, GlacierJobParameters: { Tier: 'Standard' } },
    }),
  );
  await until('the end of the restore’s request', () => isQueued('ObjectRestore:Post cold/film'));
  // The webhook was away all the time, and Firn is killed before it is back: nothing is forgotten.
  t.is(heard.length, 0);
  await firn.kill();
  isAway = false;
  const again = await firn.restart();
  t.teardown(() => again.dispose());
  await until('the webhook', () => heard.length >= 5);
  t.deepEqual(
    heard.map((record) =>
      record.s3 === undefined ? 'test' : `${record.eventName} ${record.s3.object.key}`,
    ),
    [
      'test',
      'ObjectCreated:Put gone',
      'ObjectRemoved:Delete gone',
      'ObjectCreated:Put cold/film',
      'ObjectCreated:Put tmp/scratch',
    ],
  );
  const lines = async (): Promise<string> => {
    const { Contents = [] } = await s3.send(
      new ListObjectsV2Command({ Bucket: 'logs', Prefix: 'media/' }),
    );
    const texts = Contents.map(async ({ Key }) => {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket: 'logs', Key }));
      return (await Body?.transformToString()) ?? '';
    });
    return (await Promise.all(texts)).join('');
  };
  await until('the log', async () => (await lines()).includes('REST.DELETE.OBJECT gone'));
});

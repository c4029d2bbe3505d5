// What Firn relies on in a job backend, held on LMDB and on a real MongoDB: each job is taken by
// one worker, a lock that expired is taken over, a stop loses nothing, a repeating job exists once.

import { setTimeout as sleep } from 'node:timers/promises';

import { Agenda } from 'agenda';
import type { AgendaBackend, JobParameters, JobRepository } from 'agenda';
import type { ExecutionContext, TestFn } from 'ava';

import { drainAgenda } from '../../workers/schedules.ts';

export interface JobBackendRig {
  /** A further connection to the same store, as another process would have. */
  connect(): Promise<AgendaBackend>;
  cleanup(): Promise<void>;
}

export interface JobBackendTraits {
  /** A state saved by a worker whose lock another has taken since is refused. */
  fenced: boolean;
}

const at = (offsetMs: number): Date => new Date(Date.now() + offsetMs);

const job = (over: Partial<JobParameters> = {}): JobParameters => ({
  name: 'sample',
  priority: 0,
  nextRunAt: at(-1000),
  type: 'normal',
  data: {},
  ...over,
});

const take = (
  repository: JobRepository,
  name = 'sample',
  { by = 'a', lockedBeforeMs = -60_000 } = {},
): Promise<JobParameters | undefined> =>
  repository.getNextJobToRun(name, at(0), at(lockedBeforeMs), undefined, { lastModifiedBy: by });

export function jobBackendContract(
  test: TestFn,
  name: string,
  make: () => Promise<JobBackendRig>,
  traits: JobBackendTraits,
): void {
  const promise = (
    title: string,
    body: (t: ExecutionContext, connect: () => Promise<AgendaBackend>) => Promise<void>,
  ): void => {
    test(`${name}: ${title}`, async (t) => {
      const rig = await make();
      const open: AgendaBackend[] = [];
      try {
        await body(t, async () => {
          const backend = await rig.connect();
          open.push(backend);
          return backend;
        });
      } finally {
        for (const backend of open) await backend.disconnect();
        await rig.cleanup();
      }
    });
  };

  const repositoryOf = async (connect: () => Promise<AgendaBackend>): Promise<JobRepository> => {
    const backend = await connect();
    await backend.connect();
    return backend.repository;
  };

  promise('a saved job comes back with every field that was given', async (t, connect) => {
    const repository = await repositoryOf(connect);
    const saved = await repository.saveJob(
      job({ data: { bucket: 'b', cursor: 'k' }, repeatInterval: '5 minutes', priority: 10 }),
      { lastModifiedBy: 'me' },
    );
    const found = await repository.getJobById(String(saved._id));
    t.deepEqual(found?.data, { bucket: 'b', cursor: 'k' });
    t.is(found?.repeatInterval, '5 minutes');
    t.is(found?.priority, 10);
    t.is(found?.lastModifiedBy, 'me');
    t.true(found?.nextRunAt instanceof Date);
    t.is(await repository.getJobById('0'.repeat(24)).catch(() => null), null);
  });

  promise('of many takers at once exactly one gets each job', async (t, connect) => {
    const first = await repositoryOf(connect);
    const second = await repositoryOf(connect);
    for (let i = 0; i < 20; i += 1) await first.saveJob(job({ data: { i } }), undefined);
    const takes = await Promise.all(
      Array.from({ length: 60 }, (_, i) => take(i % 2 === 0 ? first : second)),
    );
    const taken = takes.filter((one) => one !== undefined).map((one) => String(one._id));
    t.is(taken.length, 20);
    t.is(new Set(taken).size, 20);
  });

  promise('the earlier run goes first, and priority decides between equals', async (t, connect) => {
    const repository = await repositoryOf(connect);
    const same = at(-5000);
    await repository.saveJob(job({ nextRunAt: same, priority: 0, data: 'low' }), undefined);
    await repository.saveJob(job({ nextRunAt: same, priority: 20, data: 'high' }), undefined);
    await repository.saveJob(job({ nextRunAt: same, priority: -10, data: 'last' }), undefined);
    await repository.saveJob(job({ nextRunAt: at(-9000), priority: -20, data: 'old' }), undefined);
    const order: unknown[] = [];
    for (let i = 0; i < 4; i += 1) order.push((await take(repository))?.data);
    t.deepEqual(order, ['old', 'high', 'low', 'last']);
  });

  promise('neither a future, a disabled nor another name’s job is taken', async (t, connect) => {
    const repository = await repositoryOf(connect);
    await repository.saveJob(job({ nextRunAt: at(60_000) }), undefined);
    await repository.saveJob(job({ name: 'sample2' }), undefined);
    await repository.saveJob(job({ name: 'sampl' }), undefined);
    const paused = await repository.saveJob(job({ data: 'paused' }), undefined);
    t.is(await repository.disableJobs({ id: String(paused._id) }), 1);
    t.is(await take(repository), undefined);
    t.is(await repository.enableJobs({ id: String(paused._id) }), 1);
    t.is((await take(repository))?.data, 'paused');
  });

  promise('a lock that expired is taken over, a fresh one is not', async (t, connect) => {
    const repository = await repositoryOf(connect);
    await repository.saveJob(job(), undefined);
    const first = await take(repository);
    t.truthy(first);
    t.is(await take(repository, 'sample', { by: 'b' }), undefined);
    await sleep(5);
    const second = await take(repository, 'sample', { by: 'b', lockedBeforeMs: 0 });
    t.is(String(second?._id), String(first?._id));
  });

  promise('a one-off that was running when its worker died is taken again', async (t, connect) => {
    const repository = await repositoryOf(connect);
    await repository.saveJob(job(), undefined);
    const first = await take(repository);
    await repository.saveJobState(
      { ...(first as JobParameters), nextRunAt: null },
      {
        lastModifiedBy: 'a',
      },
    );
    await sleep(5);
    const again = await take(repository, 'sample', { by: 'b', lockedBeforeMs: 0 });
    t.is(String(again?._id), String(first?._id));
  });

  if (traits.fenced) {
    promise('a late worker’s state never overwrites its successor’s', async (t, connect) => {
      const repository = await repositoryOf(connect);
      await repository.saveJob(job(), undefined);
      const late = (await take(repository)) as JobParameters;
      await sleep(5);
      await take(repository, 'sample', { by: 'b', lockedBeforeMs: 0 });
      const { lockedAt: _freed, ...finished } = late;
      await t.throwsAsync(repository.saveJobState(finished, { lastModifiedBy: 'a' }), {
        message: /taken over/,
      });
      t.truthy((await repository.getJobById(String(late._id)))?.lockedAt);
    });

    promise('registering a repeating job again leaves a running one locked', async (t, connect) => {
      const repository = await repositoryOf(connect);
      const every = job({ type: 'single', repeatInterval: 1000 });
      await repository.saveJob(every, undefined);
      const running = await take(repository);
      await repository.saveJob(every, undefined);
      t.truthy((await repository.getJobById(String(running?._id)))?.lockedAt);
    });
  }

  promise('a finished state is kept, and the lock is free again', async (t, connect) => {
    const repository = await repositoryOf(connect);
    await repository.saveJob(job(), undefined);
    const taken = (await take(repository)) as JobParameters;
    const { lockedAt: _freed, ...rest } = taken;
    const finished = at(0);
    await repository.saveJobState(
      { ...rest, lastFinishedAt: finished, failCount: 2, nextRunAt: at(-1) },
      { lastModifiedBy: 'a' },
    );
    const found = await repository.getJobById(String(taken._id));
    t.falsy(found?.lockedAt);
    t.is(found?.failCount, 2);
    t.is(found?.lastFinishedAt?.getTime(), finished.getTime());
    t.truthy(await take(repository));
  });

  promise('saving the state of a removed job is refused', async (t, connect) => {
    const repository = await repositoryOf(connect);
    const saved = await repository.saveJob(job(), undefined);
    t.is(await repository.removeJobs({ id: String(saved._id) }), 1);
    await t.throwsAsync(repository.saveJobState(saved, undefined));
  });

  promise('unlocking gives jobs back that never started', async (t, connect) => {
    const repository = await repositoryOf(connect);
    await repository.saveJob(job(), undefined);
    const taken = (await take(repository)) as JobParameters;
    await repository.unlockJobs([String(taken._id)]);
    const again = (await take(repository)) as JobParameters;
    t.is(String(again._id), String(taken._id));
    await repository.unlockJob(again);
    t.truthy(await take(repository));
  });

  promise('lockJob wins once, and only as the job was seen', async (t, connect) => {
    const repository = await repositoryOf(connect);
    const saved = await repository.saveJob(job(), undefined);
    t.is(await repository.lockJob({ ...saved, nextRunAt: at(1000) }, undefined), undefined);
    const won = await Promise.all([1, 2, 3].map(() => repository.lockJob(saved, undefined)));
    t.is(won.filter((one) => one !== undefined).length, 1);
  });

  promise('a repeating job registered by many processes exists once', async (t, connect) => {
    const first = await repositoryOf(connect);
    const second = await repositoryOf(connect);
    await Promise.all(
      [first, second, first, second, first, second].map((repository) =>
        repository.saveJob(job({ type: 'single', repeatInterval: '1 minute' }), undefined).catch(
          // A unique index of the server's refuses the second upsert: the first one stands.
          () => undefined,
        ),
      ),
    );
    t.is((await first.queryJobs({ name: 'sample' })).total, 1);
  });

  promise(
    'work with the same unique fields is queued once, and again once done',
    async (t, connect) => {
      const first = await repositoryOf(connect);
      const second = await repositoryOf(connect);
      const batch = job({
        data: { key: 'bucket/0' },
        unique: { 'data.key': 'bucket/0' },
        uniqueOpts: { insertOnly: true },
      });
      await Promise.all(
        [first, second, first, second].map((repository) =>
          repository.saveJob(batch, undefined).catch(() => undefined),
        ),
      );
      t.is((await first.queryJobs({ name: 'sample' })).total, 1);
      const taken = (await take(first)) as JobParameters;
      await second.saveJob(batch, undefined);
      t.is((await first.queryJobs({ name: 'sample' })).total, 1);
      t.truthy((await first.getJobById(String(taken._id)))?.lockedAt);
      await first.removeJobs({ id: String(taken._id) });
      await second.saveJob(batch, undefined);
      t.truthy(await take(first));
    },
  );

  promise('queries filter by name, state, data and page', async (t, connect) => {
    const repository = await repositoryOf(connect);
    for (let i = 0; i < 5; i += 1) {
      await repository.saveJob(job({ data: { i, group: i % 2 } }), undefined);
    }
    await repository.saveJob(job({ name: 'later', nextRunAt: at(60_000) }), undefined);
    t.is((await repository.queryJobs({ name: 'sample' })).total, 5);
    t.is((await repository.queryJobs({ state: 'scheduled' })).jobs[0]?.name, 'later');
    t.is((await repository.queryJobs({ data: { group: 1 } })).total, 2);
    const page = await repository.queryJobs({ name: 'sample', skip: 3, limit: 10 });
    t.is(page.jobs.length, 2);
    t.is(page.total, 5);
    t.deepEqual((await repository.getDistinctJobNames()).toSorted(), ['later', 'sample']);
    t.is(await repository.getQueueSize(), 5);
    const overview = (await repository.getJobsOverview()).find((one) => one.name === 'sample');
    t.is(overview?.queued, 5);
    t.is(await repository.removeJobs({}), 0);
    t.is(await repository.removeJobs({ name: 'sample', data: { group: 0 } }), 3);
    t.is(await repository.purgeAllJobs(), 3);
  });

  promise(
    'two workers run fifty jobs, each once, and a drain ends what runs',
    async (t, connect) => {
      const runs = new Map<number, number>();
      const workers: Agenda[] = [];
      for (const who of ['a', 'b']) {
        const agenda = new Agenda({
          backend: await connect(),
          name: who,
          processEvery: 100,
          defaultLockLimit: 8,
          removeOnComplete: true,
          // Far more than a job of a busy machine takes: whose lock ended would be run twice. Agenda leaves a
          // timer of half of it behind each job.
          defaultLockLifetime: 10_000,
        });
        agenda.define<{ i: number }>(
          'count',
          // Agenda's first overload takes a callback; the second is meant.
          // oxlint-disable-next-line typescript/no-misused-promises
          async (running) => {
            const { i } = running.attrs.data;
            await sleep(5);
            await running.touch(50);
            runs.set(i, (runs.get(i) ?? 0) + 1);
          },
          { concurrency: 4, lockLimit: 8 },
        );
        workers.push(agenda);
        await agenda.start();
      }
      await Promise.all(
        Array.from({ length: 50 }, (_, i) => (workers[i % 2] as Agenda).now('count', { i })),
      );
      while (runs.size < 50) await sleep(50);
      await Promise.all(workers.map((agenda) => drainAgenda(agenda, 10_000)));
      t.is(runs.size, 50);
      t.true([...runs.values()].every((count) => count === 1));
    },
  );
}

// Promises that no single read shows: an acknowledged object bears the loss of one more drive; what
// is short of full redundancy is on the heal list; a condition that was answered held.

import { isFirnError } from '../../appliance/model/errors.ts';
import { needsHeal } from '../../appliance/model/node-group.ts';
import type { ObjectDocument } from '../../appliance/model/object.ts';
import { namesOf } from '../engine-harness.ts';
import type { SimDrive } from './drive.ts';
import type { Life } from './life.ts';
import { isSame, type ClientStep, type Effect, type Model } from './model.ts';

/** Each of these keys is read with the drives at `gone` away; a life that was not started yet. */
export async function bearsLoss(
  life: Life,
  expected: ReadonlyMap<string, Effect>,
  gone: readonly number[],
): Promise<void> {
  for (const position of gone) (life.drives[position] as SimDrive).gone = true;
  await life.start('api');
  for (const [key, effect] of expected) {
    const found = await life.read(key).catch((error: unknown) => {
      if (isFirnError(error)) return error;
      throw error;
    });
    if (isFirnError(found)) {
      throw new Error(`${key} is unreadable without drives ${gone.join()}: ${found.message}`);
    }
    if (!isSame(found, effect)) throw new Error(`${key} has other bytes without ${gone.join()}`);
  }
}

/** I8: what a document names short of full redundancy waits on the heal list. */
export async function deficitsAreListed(life: Life): Promise<void> {
  for (const { id, value } of life.rowsOf<ObjectDocument>('objects')) {
    for (const location of (await namesOf(life.store, value)).values()) {
      if (location === undefined || location.kind === 'pack' || location.kind === 'remote')
        continue;
      if (!needsHeal(location)) continue;
      if ((await life.store.get('heals', location.id)) === undefined) {
        throw new Error(`${id} is short of redundancy and on no heal list`);
      }
    }
  }
}

/** `step` may have taken effect after `first` and before `then`, as far as their answers tell. */
const mayLieBetween = (first: ClientStep, step: ClientStep, then: ClientStep): boolean =>
  step.end > first.begin && step.begin < then.end;

/** If-None-Match that was acknowledged: no other version may have stood through all of it. */
export function conditionsHeld(model: Model): void {
  for (const one of model.steps) {
    if (one.isNew !== true || one.outcome !== 'acked') continue;
    for (const other of model.steps) {
      if (other === one || other.key !== one.key || other.outcome !== 'acked') continue;
      if (other.effect === 'absent') continue;
      const bothNew = other.isNew === true;
      if (!bothNew && other.end > one.begin) continue;
      if (bothNew && other.begin > one.begin) continue;
      const removed = model.steps.some(
        (step) =>
          step.key === one.key &&
          step.effect === 'absent' &&
          step.outcome !== 'refused' &&
          (mayLieBetween(other, step, one) || (bothNew && mayLieBetween(one, step, other))),
      );
      if (!removed) throw new Error(`${one.key} was created twice under If-None-Match`);
    }
  }
}

// How the state of redundancy reads on a terminal: is everything whole, if not what is being done
// and when it will be.

import type { HealAnswer } from '../../model/drive-answers.ts';
import { barText } from './bar.ts';
import { countOf, countText, durationText, sizeText, timeText } from './human.ts';
import type { Screen } from './output.ts';

const BAR_CELLS = 24;

/** True when nothing is left to heal. */
export const isHealed = ({ waiting, drives }: HealAnswer): boolean =>
  waiting === 0 && drives.every(({ state }) => state === 'full');

const barred = (share: number): string =>
  `[${barText(share, BAR_CELLS)}] ${String(Math.floor(share * 100)).padStart(3)} %`;

export function healText(answer: HealAnswer, to: Screen, now: number): string {
  const { paint } = to;
  const lines = [...missingText(answer, paint), summary(answer, paint)];
  for (const drive of answer.drives) lines.push(driveText(drive, paint, now));
  if (answer.scrub.length > 0) {
    lines.push('', paint.bold('Scrub'));
    const width = Math.max(...answer.scrub.map(({ tier }) => tier.length));
    for (const one of answer.scrub) {
      lines.push(`  ${one.tier.padEnd(width)}  ${scrubText(one, paint, now)}`);
    }
  }
  const { candidates } = answer.leftovers;
  if (candidates > 0) {
    lines.push(
      '',
      `${countOf(candidates, 'leftover')} of deletes and overwrites keep their room until their ` +
        'grace is over.',
    );
  }
  const asked = answer.runs.filter(({ state }) => state === 'requested' || state === 'running');
  for (const run of asked) {
    lines.push(`A ${run.kind} was asked for at ${timeText(run.requestedAt)} UTC: ${run.state}.`);
  }
  return `${lines.join('\n')}\n`;
}

function missingText({ missing }: HealAnswer, paint: Screen['paint']): string[] {
  if (missing === null || missing.objects === 0) return [];
  const when = `${timeText(missing.at)} UTC`;
  return [
    paint.red(
      `${countOf(missing.objects, 'object')} named bytes that are not there when the sweep looked, ` +
        `${when}: the log has their keys; deploy/OPERATIONS.md, "Something is lost"`,
    ),
    '',
  ];
}

function summary(answer: HealAnswer, paint: Screen['paint']): string {
  if (answer.waiting > 0) {
    return paint.yellow(
      `${countOf(answer.waiting, 'location')} (${sizeText(answer.bytes)}) wait to be healed, ` +
        `the oldest since ${timeText(answer.oldestSince ?? undefined)} UTC`,
    );
  }
  return isHealed(answer)
    ? paint.green('Everything is stored with full redundancy, as far as is known.')
    : paint.yellow('What is written now has full redundancy; older bytes wait for these drives:');
}

type Drive = HealAnswer['drives'][number];

function driveText(drive: Drive, paint: Screen['paint'], now: number): string {
  const name = `${drive.tier} group ${drive.group} drive ${drive.position}`;
  const { share, bytesPerSecond, endsAt } = drive;
  if (share === null) {
    const grave = drive.state !== 'healing' && drive.state !== 'full';
    const state = grave ? paint.red(drive.state) : paint.yellow(drive.state);
    const next = drive.state === 'healing' ? ', waits for its next look' : '';
    return `  ${name} is ${state}${next}  ${paint.dim(drive.path)}`;
  }
  const parts = [name, barred(share)];
  if (drive.bytes !== null && bytesPerSecond !== null) {
    parts.push(`${sizeText(drive.bytes)} at ${sizeText(bytesPerSecond)}/s`);
  }
  if (endsAt !== null) parts.push(`about ${durationText(Date.parse(endsAt) - now)} left`);
  return `  ${parts.join('  ')}`;
}

type Scrub = HealAnswer['scrub'][number];

function scrubText(
  { isRunning, pass, group, share, bytesPerSecond, repaired, lost, last }: Scrub,
  paint: Screen['paint'],
  now: number,
): string {
  const found = (of: { repaired: number; lost: number }): string => {
    const text = `${countText(of.repaired)} repaired, ${countText(of.lost)} lost`;
    return of.lost > 0 ? paint.red(text) : text;
  };
  const before =
    last === null
      ? 'never read back whole yet'
      : `read back whole ${durationText(now - Date.parse(last.endedAt))} ago ` +
        `(${countOf(last.checked, 'file')}, ${sizeText(last.bytes)}, ${found(last)})`;
  if (!isRunning) {
    if (pass === null) return before;
    return `${barred(pass.share)} of the pass begun ${timeText(pass.startedAt)} UTC; ${before}`;
  }
  const at = group === null || share === null ? 'begins' : `group ${group} ${barred(share)}`;
  const pace = bytesPerSecond === null ? '' : `  ${sizeText(bytesPerSecond)}/s`;
  return `${at}${pace}  ${found({ repaired, lost })}; ${before}`;
}

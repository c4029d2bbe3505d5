// Which group of a tier a list of directories is, by what the drives themselves say: the settings
// may be in another order than they once were. Looks only; what does not fit is refused when the
// drives are taken into use.

import { LocalDrive } from './local-drive.ts';
import { readIdentity } from './identity.ts';
import { PatientDrive } from './patient-drive.ts';

/** The number that the first readable drive of this store and tier carries; undefined: none does. */
export async function groupOnDrives(
  paths: readonly string[],
  of: { store: string; tier: string },
): Promise<number | undefined> {
  for (const path of paths) {
    const found = await readIdentity(new PatientDrive(new LocalDrive(path), 60_000)).catch(
      () => undefined,
    );
    if (found?.state !== 'read') continue;
    const { store, tier, group } = found.value;
    if (store === of.store && tier === of.tier) return group;
  }
  return undefined;
}

/** Each list of drives of the settings with the number that it carries. */
export function listedGroups(
  lists: readonly (readonly string[])[],
  of: { store: string; tier: string },
): Promise<{ drives: readonly string[]; group: number | undefined }[]> {
  return Promise.all(
    lists.map(async (drives) => ({ drives, group: await groupOnDrives(drives, of) })),
  );
}

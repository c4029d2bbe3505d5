// Builds what S3 needs of identities: whose key pairs sign, and the actions that change them.

import type { Actions } from '../s3/actions.ts';
import type { S3Settings } from '../s3/input/settings.ts';
import type { IamSettings } from './action.ts';
import { buildActions } from './actions.ts';
import { accountsWithIdentities } from './signers.ts';

export interface Iam {
  /** In place of accounts alone: also users and sessions of roles. */
  accounts: S3Settings['accounts'];
  actions: Actions;
}

export function buildIam(settings: IamSettings): Iam {
  return { accounts: accountsWithIdentities(settings), actions: buildActions(settings) };
}

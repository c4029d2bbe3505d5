// What an action is: its name, what it is about, and what it does. An action never sees another
// account than that of its caller.

import type { Accounts } from '../../appliance/engine/account/accounts.ts';
import type { Identities } from '../../appliance/engine/account/identities.ts';
import type { Clock } from '../../appliance/model/clock.ts';
import type { Asker } from '../s3/access/principal.ts';
import type { Params } from './params.ts';

export interface IamSettings {
  accounts: Accounts;
  identities: Identities;
  clock: Clock;
  region: string;
}

export interface Call {
  params: Params;
  caller: Asker;
  accessKey: string;
  /** Of the caller: whose identities these are. */
  account: string;
  settings: IamSettings;
  /** Of the socket. */
  remoteAddress: string;
  isSecure: boolean;
  userAgent: string | undefined;
}

type Resource = string | readonly string[] | undefined;

export interface Action {
  name: string;
  service: 'iam' | 'sts';
  /**
   * The ARN that policies of the caller must allow it on, or each of several; undefined where every
   * caller may, or where `run` asks itself. Reads all parameters.
   */
  resource(call: Call): Resource | Promise<Resource>;
  /** The XML inside the result; undefined where the answer has none. */
  run(call: Call): Promise<string | undefined>;
}

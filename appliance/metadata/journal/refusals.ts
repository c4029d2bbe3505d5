// Why a journal takes nothing, as operators are told it.

import { FirnError } from '../../model/errors.ts';
import type { JournalOptions } from './ports.ts';

export function tooFew({ copiesMin }: JournalOptions, cause?: unknown): FirnError {
  return new FirnError('MetadataUnavailable', 'too few drives take the metadata journal', {
    cause,
    retryable: true,
    hint: `it needs ${copiesMin} drives of the hot tier: look at ./firn drives`,
  });
}

export function exhausted(): FirnError {
  return new FirnError('MetadataUnavailable', 'the metadata journal has used up its epochs', {
    hint: 'a drive left and joined tens of thousands of times: ask for help, nothing is lost',
  });
}

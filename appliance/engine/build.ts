// The engine of one process, from what the front door has opened.

import type { EngineContext } from './document/context.ts';
import { buildCore } from './document/core.ts';
import { Engine } from './engine.ts';

export function buildEngine(context: EngineContext): Engine {
  return new Engine(buildCore(context));
}

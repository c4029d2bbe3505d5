// The codes once more, in plain TypeScript and by field elements instead of packets of vectors: the
// oracle that the kernels are held against. Slow (tens of MB/s) and never on a data path.

import { multiply, type Combination } from './field.ts';
import { GROUP_BYTES } from './emitter.ts';

/** Bit `bit` of element `index` of a group: packet `bit`, byte index >> 3, bit index & 7. */
function elementAt(lane: Uint8Array, group: number, index: number): number {
  let element = 0;
  for (let bit = 0; bit < 4; bit += 1) {
    const byte = lane[group + bit * 16 + (index >> 3)] as number;
    element |= ((byte >> (index & 7)) & 1) << bit;
  }
  return element;
}

function addElement(lane: Uint8Array, group: number, at: { index: number; element: number }): void {
  for (let bit = 0; bit < 4; bit += 1) {
    const place = group + bit * 16 + (at.index >> 3);
    const value = ((at.element >> bit) & 1) << (at.index & 7);
    lane[place] = (lane[place] as number) ^ value;
  }
}

/** Computes the targets of a combination from `lanes` (all of one length, a multiple of 64). */
export function combinePlainly(
  combination: Combination,
  lanes: readonly Uint8Array[],
): Uint8Array[] {
  const length = (lanes[combination.sources[0] as number] as Uint8Array).length;
  return combination.targets.map((_, t) => {
    const out = new Uint8Array(length);
    for (const [s, source] of combination.sources.entries()) {
      const factor = combination.coefficients[t]?.[s] as number;
      const lane = lanes[source] as Uint8Array;
      for (let group = 0; group < length; group += GROUP_BYTES) {
        for (let index = 0; index < 128; index += 1) {
          const element = multiply(factor, elementAt(lane, group, index));
          if (element !== 0) addElement(out, group, { index, element });
        }
      }
    }
    return out;
  });
}

/**
 * Frees a piece of a body whose reader is done with it. Left to the collector, 64 KiB a piece set
 * off a marking of the whole heap every 64 MiB (a third of a large PUT's CPU); and the allocator
 * hands out the same bytes again while they are in the cache. Nothing may hold the piece any more.
 */
export function letGo(piece: Uint8Array): void {
  const { buffer } = piece;
  if (piece.length === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

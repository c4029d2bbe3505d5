// The few names of WebAssembly that the codec uses, typed: the type library that declares them all
// belongs to browsers and would bring `window` and a thousand others into scope.

export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

type Exports = Record<string, (address: number, bytes: number) => void>;

interface WasmApi {
  Memory: new (pages: { initial: number; maximum: number }) => WasmMemory;
  Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  Instance: new (
    module: object,
    imports: { firn: { memory: WasmMemory } },
  ) => { readonly exports: Exports };
}

export const wasm: WasmApi = (globalThis as unknown as { WebAssembly: WasmApi }).WebAssembly;

/** The modules that the bundler and the runtime of Workers provide. */

declare module 'cloudflare:workers' {
  /** The bindings of `wrangler.jsonc`. They are set before the isolate starts. */
  export const env: Record<string, unknown>;
}

declare module '*.wasm' {
  const module: WebAssembly.Module;
  export default module;
}

/** What the bundler and the runtime of Workers know beside the web's own. */

declare module 'cloudflare:workers' {
  /** The bindings of `wrangler.jsonc`, which are there as the isolate starts. */
  export const env: Record<string, unknown>;
}

declare module '*.wasm' {
  const module: WebAssembly.Module;
  export default module;
}

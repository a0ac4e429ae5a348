/** The entry on Cloudflare Workers: settings and secrets are bindings that hold a text. */
import { env } from 'cloudflare:workers';
import { type Bindings, createWorker } from './edge.ts';
import { readSettings } from './settings.ts';

const texts = Object.entries(env).filter(
  (entry): entry is [string, string] => typeof entry[1] === 'string',
);

export default createWorker(readSettings(Object.fromEntries(texts)), env as Bindings & typeof env);

/** The entry on Cloudflare Workers. Settings and secrets are bindings whose value is a string. */
import { env } from 'cloudflare:workers';
import { readSettings } from '../settings.ts';
import { type Bindings, createWorker } from './create-worker.ts';

const texts = Object.entries(env).filter(
  (entry): entry is [string, string] => typeof entry[1] === 'string',
);

export default createWorker(readSettings(Object.fromEntries(texts)), env as Bindings & typeof env);

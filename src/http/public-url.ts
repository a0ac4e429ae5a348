/** References that are valid behind a proxy that serves the API under a path. */
import type { Platform } from '../platform.ts';

/** Returns a path of the API as clients reach it: absolute where `PUBLIC_URL` is set, else as it is. */
export const publicUrl = ({ settings }: Pick<Platform, 'settings'>, path: string): string =>
  (settings.publicUrl ?? '') + path;

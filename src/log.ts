/** One structured line an event, on standard error. Whatever breaks a line is escaped, so no input can forge one. */
import type { LogLevel } from './settings.ts';
import { log_levels } from './settings.ts';

export type Log = (
  level: Exclude<LogLevel, 'silent'>,
  event: string,
  fields?: Record<string, unknown>,
) => void;

/** Makes a log that drops what is below the level. Fields must hold no secret. */
export function createLog(
  level_min: LogLevel,
  format: 'json' | 'pretty',
  write: (line: string) => void,
): Log {
  const threshold = log_levels.indexOf(level_min);
  return (level, event, fields = {}) => {
    if (log_levels.indexOf(level) < threshold) return;
    const time = new Date().toISOString();
    write(
      format === 'json'
        ? escaped({ time, level, event, ...fields })
        : `${time.slice(11, 23)} ${level.padEnd(5)} ${event} ${pairs(fields)}`,
    );
  };
}

/** `status=200 route=/tasks/{task_id}`: quoted only where it could be read as something else. */
const pairs = (fields: Record<string, unknown>) =>
  Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      const plain = typeof value === 'string' && /^[\w./{}:@+-]+$/.test(value);
      return `${name}=${plain ? value : escaped(value)}`;
    })
    .join(' ');

/** JSON escapes the controls of ASCII; some viewers break lines at others too (Unicode, UAX #14). */
const escaped = (value: unknown) =>
  JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

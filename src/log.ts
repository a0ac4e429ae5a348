/** One structured line an event, on standard error. Whatever breaks a line is escaped, so no input can forge one. */
import type { LogLevel, Settings } from './settings.ts';
import { log_levels } from './settings.ts';

export type Log = (
  level: Exclude<LogLevel, 'silent'>,
  event: string,
  fields?: Record<string, unknown>,
) => void;

/** Makes a log that drops what is below the level of the settings. Fields must hold no secret. */
export function createLog(
  settings: Pick<Settings, 'log_level' | 'log_format'>,
  write: (line: string) => void,
): Log {
  const threshold = log_levels.indexOf(settings.log_level);
  return (level, event, fields = {}) => {
    if (log_levels.indexOf(level) < threshold) return;
    const time = new Date().toISOString();
    write(
      settings.log_format === 'json'
        ? escaped({ time, level, event, ...fields })
        : `${time} ${level.padEnd(5)} ${event} ${escaped(fields)}`,
    );
  };
}

/** JSON escapes the controls of ASCII; some viewers break lines at others too (Unicode, UAX #14). */
const escaped = (value: object) =>
  JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

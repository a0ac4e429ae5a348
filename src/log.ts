/** One structured line an event, on standard error. JSON escapes CR and LF, so no input can forge a line. */
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
        ? JSON.stringify({ time, level, event, ...fields })
        : `${time} ${level.padEnd(5)} ${event} ${JSON.stringify(fields)}`,
    );
  };
}

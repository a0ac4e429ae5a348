/** The log: one structured line for each event. Line breaks are escaped, so no input can forge a line. */

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export type Log = (
  level: Exclude<LogLevel, 'silent'>,
  event: string,
  fields?: Record<string, unknown>,
) => void;

/** Returns a log that drops events below the level. Fields must hold no secret. */
export function createLog(
  levelMin: LogLevel,
  format: 'json' | 'pretty',
  write: (line: string) => void,
): Log {
  const threshold = logLevels.indexOf(levelMin);
  return (level, event, fields = {}) => {
    if (logLevels.indexOf(level) < threshold) return;
    const time = new Date().toISOString();
    write(
      format === 'json'
        ? escaped({ time, level, event, ...fields })
        : `${time.slice(11, 23)} ${level.padEnd(5)} ${event} ${pairs(fields)}`,
    );
  };
}

/** Returns fields as `status=200 route=/tasks/{task_id}`, with quotes where a value would be ambiguous. */
const pairs = (fields: Record<string, unknown>) =>
  Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      const plain = typeof value === 'string' && /^[\w./{}:@+-]+$/.test(value);
      return `${name}=${plain ? value : escaped(value)}`;
    })
    .join(' ');

/** Returns a value as JSON on one line. JSON escapes the controls of ASCII; some viewers break lines at others too (UAX #14). */
const escaped = (value: unknown) =>
  JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

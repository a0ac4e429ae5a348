/** The reader of each format. They are loaded with the first document that needs one. */
import type { ForeignFormat } from '../../schemas/import-reports.ts';
import type { ForeignReader } from './foreign-task.ts';

export const readers: Record<ForeignFormat, () => Promise<ForeignReader>> = {
  icalendar: async () => (await import('./icalendar.ts')).readICalendar,
  csv: async () => (await import('./csv.ts')).readCsv,
  todoist: async () => (await import('./csv.ts')).readTodoistExport,
  trello: async () => (await import('./trello.ts')).readTrello,
  taskwarrior: async () => (await import('./taskwarrior.ts')).readTaskwarrior,
  todotxt: async () => (await import('./todo-txt.ts')).readTodoTxt,
  github: async () => (await import('./github.ts')).readGitHub,
};

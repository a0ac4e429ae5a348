/** Collects what an import leaves out, cuts or changes. Memory stays flat: it keeps the first notes and counts all. */
import type { Note } from '../formats/imports/foreign-task.ts';
import { ownCopy } from '../lib/own-copy.ts';
import {
  type ImportFormat,
  type ImportNote,
  type ImportReport,
  NOTES_MAX,
  type NoteCode,
  noteCodes,
  QUOTE_LENGTH_MAX,
} from '../schemas/import-reports.ts';
import { cut } from './foreign-tasks.ts';

/** Where a note belongs. */
interface Place {
  line: number;
  item: number | undefined;
  title: string | undefined;
}

export function createReport(timeZone: string) {
  const counts = new Map<NoteCode, number>();
  const notes: ImportNote[] = [];
  let total = 0;
  let leftOut = 0;

  return {
    add({ line, item, title }: Place, found: readonly Note[]) {
      for (const { code, field, value } of found) {
        total += 1;
        counts.set(code, (counts.get(code) ?? 0) + 1);
        if (code === 'item_left_out' || code === 'item_repeated') leftOut += 1;
        if (notes.length === NOTES_MAX) continue;
        notes.push({
          line,
          item: item ?? null,
          title: quote(title),
          code,
          field: quote(field) ?? '',
          value: quote(value),
          message: noteCodes[code],
        });
      }
    },
    /** Returns the report of a document that is read to its end. */
    of(format: ImportFormat, projects: ImportReport['projects']): ImportReport {
      return {
        format,
        time_zone: timeZone,
        projects,
        tasks: projects.reduce((sum, { tasks }) => sum + tasks, 0),
        left_out: leftOut,
        notes_total: total,
        codes: [...counts].map(([code, count]) => ({ code, count })),
        notes,
      };
    },
  };
}

/** A response holds no NUL and no lone surrogate, whatever a document does. */
const quote = (text: string | undefined): string | null =>
  text === undefined
    ? null
    : ownCopy(cut(text, QUOTE_LENGTH_MAX).replaceAll('\0', '').toWellFormed());

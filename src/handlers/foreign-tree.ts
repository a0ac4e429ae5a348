/** The subtasks and blockers of another program's document. Items come in any order, so they are judged once all are read. */
// Decision: docs/decisions/44-subtasks.md
import type { ForeignItem, Note } from '../formats/imports/foreign-task.ts';
import { QUOTE_LENGTH_MAX } from '../schemas/import-reports.ts';
import type { ExportedTask } from '../schemas/project-exports.ts';
import { BLOCKERS_MAX, TREE_LEVELS_MAX } from '../schemas/tasks.ts';
import { cut } from './foreign-tasks.ts';

/** The blockers of all tasks that are held: 100,000 tasks could name ten million. */
const BLOCKERS_HELD_MAX = 1_000_000;

interface Node extends Pick<ForeignItem, 'line' | 'item'> {
  title: string;
  projectId: string;
  parent: string | undefined;
  blockers: readonly string[];
}

/** What does not fit, by the line of its item. */
export interface Unfit {
  readonly at: Pick<ForeignItem, 'line' | 'item'> & { title: string };
  readonly notes: Note[];
}

export function createForeignTree() {
  const nodes: Node[] = [];
  const byRef = new Map<string, Node>();
  let blockersHeld = 0;

  /** Returns how many levels are above a task; undefined where they are too many or lead back to it. */
  function levelsAbove(node: Node): number | undefined {
    let levels = 0;
    for (let at = node; at.parent !== undefined; levels += 1) {
      const parent = byRef.get(at.parent);
      if (parent === undefined) break;
      if (parent === node || levels === TREE_LEVELS_MAX) return undefined;
      at = parent;
    }
    return levels < TREE_LEVELS_MAX ? levels : undefined;
  }

  function isUnfit(node: Node): boolean {
    if (node.parent === undefined) return false;
    const isHere = byRef.get(node.parent)?.projectId === node.projectId;
    return !isHere || levelsAbove(node) === undefined;
  }

  return {
    /** Returns the task without a `ref` that another task has, and without blockers beyond those that are held. Adds to `notes`. */
    add(
      { ref, blocked_by: named = [], ...fields }: ExportedTask,
      { line, item, notes }: Pick<ForeignItem, 'line' | 'item' | 'notes'>,
      projectId: string,
    ): ExportedTask {
      const blockers = named.slice(0, BLOCKERS_HELD_MAX - blockersHeld);
      blockersHeld += blockers.length;
      if (blockers.length < named.length) notes.push(linksLeftOut(named.slice(blockers.length)));
      const task = { ...fields, ...(blockers.length > 0 && { blocked_by: blockers }) };
      const { title, parent } = task;
      const node = { line, item, title, projectId, parent, blockers };
      if (parent !== undefined || blockers.length > 0) nodes.push(node);
      if (ref === undefined || byRef.has(ref)) return task;
      byRef.set(ref, node);
      return { ...task, ref };
    },
    /** Returns what has to be left out: a parent that is missing, in another project, too deep or a cycle; unknown blockers. */
    unfit(): Unfit[] {
      return nodes.flatMap((node) => {
        const notes: Note[] = [];
        if (isUnfit(node)) {
          notes.push({ code: 'parent_left_out', field: 'parent', value: node.parent });
          node.parent = undefined;
        }
        const known = node.blockers.filter((one) => byRef.has(one));
        const left = [
          ...node.blockers.filter((one) => !byRef.has(one)),
          ...known.slice(BLOCKERS_MAX),
        ];
        if (left.length > 0) notes.push(linksLeftOut(left));
        return notes.length > 0 ? [{ at: node, notes }] : [];
      });
    },
  };
}

/** The notes of all tasks are held at once, so each is as long as the report quotes it. */
const linksLeftOut = (refs: readonly string[]): Note => ({
  code: 'link_left_out',
  field: 'blocked_by',
  value: cut(refs.join(', '), QUOTE_LENGTH_MAX),
});

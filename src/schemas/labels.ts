import { type Static, Type } from '@sinclair/typebox';
import { label, projectFilters } from './tasks.ts';
import { Id } from './types/id.ts';
import { annotated } from './types/kind.ts';
import { Parameters, StrictObject } from './types/object.ts';
import { Page, pageParameters } from './types/page.ts';

/** A list of labels reads up to this many tasks, the latest of each project. */
export const LABELLED_TASKS_READ_MAX = 20_000;
/** One request changes up to this many tasks. */
export const RELABELLED_TASKS_MAX = 2000;

const labelName = annotated(label, {
  description: 'The label, exactly as written.',
  examples: ['shopping'],
});

export const Label = StrictObject('Label', {
  name: labelName,
  count: Type.Integer({ minimum: 1, description: 'How many tasks have it.', examples: [3] }),
});
export type Label = Static<typeof Label>;

const { properties } = Page('LabelPage', Label);

export const LabelPage = StrictObject('LabelPage', {
  ...properties,
  more: Type.Boolean({
    description: `Whether there are tasks beyond the ${LABELLED_TASKS_READ_MAX} that were read, the latest of each project. Then counts may be higher, and a label of older tasks may be missing.`,
    examples: [false],
  }),
});
export type LabelPage = Static<typeof LabelPage>;

export const LabelListQuery = Parameters({ ...pageParameters, ...projectFilters });
export type LabelListQuery = Static<typeof LabelListQuery>;

export const LabelPath = Parameters({
  project_id: Id('The project.'),
  label: annotated(label, {
    description: 'The label, percent-encoded: `50%25` for `50%`, `a%2Fb` for `a/b`.',
    examples: ['shopping'],
  }),
});

export const LabelRename = StrictObject('LabelRename', { name: labelName });
export type LabelRename = Static<typeof LabelRename>;

export const LabelChange = StrictObject('LabelChange', {
  changed: Type.Integer({
    minimum: 0,
    maximum: RELABELLED_TASKS_MAX,
    description: 'How many tasks this request has changed.',
    examples: [3],
  }),
  more: Type.Boolean({
    description: 'Whether tasks with the old label may be left: send the request again.',
    examples: [false],
  }),
});
export type LabelChange = Static<typeof LabelChange>;

import { Type } from '@sinclair/typebox';
import { StrictObject } from './types/object.ts';

export const Health = StrictObject('Health', { status: Type.Literal('ok') });

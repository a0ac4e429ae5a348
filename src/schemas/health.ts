import { Type } from '@sinclair/typebox';
import { StrictObject } from './common.ts';

export const Health = StrictObject('Health', { status: Type.Literal('ok') });

import { v7 as uuidv7 } from 'uuid';

/** Returns the id of something new: the one that the client has chosen, or another (UUIDv7, RFC 9562 §5.7). */
export const newId = (chosen?: string) => chosen?.toLowerCase() ?? uuidv7();

/** A process cannot start, or a command cannot do its work. The message is one line with the cause and the cure. */
export class StartupError extends Error {
  override readonly name = 'StartupError';
}

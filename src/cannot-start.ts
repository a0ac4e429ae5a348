/** Why the process cannot do its work, in one line that names the cause and the cure. */
export class CannotStart extends Error {
  override readonly name = 'CannotStart';
}

/** The list of common passwords, for runtimes that have the memory. */

let loading: Promise<ReadonlySet<string>> | undefined;

/** Returns 49,000 in lower case, most common first. Loaded when first needed: that takes 20 ms and 18 MiB. */
export function commonPasswords(): Promise<ReadonlySet<string>> {
  loading ??= import('@zxcvbn-ts/language-common').then(
    ({ dictionary }) => new Set(dictionary['passwords-common']),
  );
  return loading;
}

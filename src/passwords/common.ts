/** The passwords that are tried first, for runtimes with room for them. */

let loading: Promise<ReadonlySet<string>> | undefined;

/** 49,000 in lower case, most common first. Loaded when first needed: they take 20 ms and 18 MiB. */
export function commonPasswords(): Promise<ReadonlySet<string>> {
  loading ??= import('@zxcvbn-ts/language-common').then(
    ({ dictionary }) => new Set(dictionary['passwords-common']),
  );
  return loading;
}

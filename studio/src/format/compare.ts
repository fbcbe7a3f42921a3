// Versions of a document beside each other, field by field. Values stay JSON text.

import { compact, members } from "./json";

export interface ComparedField {
  name: string;
  /** The value in each version; null where it has none. */
  values: (string | null)[];
  /** Whether the versions differ in it. */
  isDifferent: boolean;
}

/** The fields of all versions, in the order in which they first appear; a version is null where it was deleted. */
export function compared(versions: (string | null)[]): ComparedField[] {
  const fields = versions.map((text) => new Map(text === null ? [] : members(text).map(({ name, value }) => [name, value.trim()])));
  const names = new Set(fields.flatMap((of) => [...of.keys()]));
  return [...names].map((name) => {
    const values = fields.map((of) => of.get(name) ?? null);
    const alike = new Set(values.map((value) => (value === null ? null : compact(value))));
    return { name, values, isDifferent: alike.size > 1 };
  });
}

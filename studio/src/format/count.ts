// Counts and sizes for people.

const WHOLE = new Intl.NumberFormat("en", { useGrouping: true });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** `1234567` as `1,234,567`. */
export function count(value: number): string {
  return WHOLE.format(value);
}

/** `1 document`, `2,000 documents`. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** `1536` as `1.5 KiB`. */
export function bytes(value: number): string {
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ""}`;
}

// Moments for people: how long ago, with the full time beside it.

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1_000],
];

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "always" });

/** `2026-07-30T10:00:00.123Z` as `5 minutes ago`; the text itself where it is no time. */
export function ago(utc: string, nowMillis: number): string {
  const millis = Date.parse(utc) - nowMillis;
  if (Number.isNaN(millis)) return utc;
  for (const [unit, length] of STEPS) {
    if (Math.abs(millis) >= length) return RELATIVE.format(Math.trunc(millis / length), unit);
  }
  return "now";
}

/** `2026-07-30T10:00:00.123Z` as `2026-07-30 10:00:00 UTC`; the text itself where it is no time. */
export function clock(utc: string): string {
  const parts = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z$/.exec(utc);
  return parts ? `${parts[1] ?? ""} ${parts[2] ?? ""} UTC` : utc;
}

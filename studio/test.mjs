// Compiles the tests that stand beside what they test, and runs them with Node's own runner.

import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { readdir, rm } from "node:fs/promises";
import path from "node:path";

const COMPILED = "node_modules/.cache/tests";

const sources = (await readdir("src", { recursive: true })).filter((file) => file.endsWith(".test.ts"));
await rm(COMPILED, { recursive: true, force: true });
await build({
  entryPoints: sources.map((file) => path.join("src", file)),
  outdir: COMPILED,
  outbase: "src",
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node18",
  logLevel: "warning",
});

const compiled = sources.map((file) => path.join(COMPILED, file.replace(/\.ts$/, ".mjs")));
const { status } = spawnSync(process.execPath, ["--test", "--test-reporter=tap", ...compiled], { stdio: "inherit" });
process.exitCode = status ?? 1;

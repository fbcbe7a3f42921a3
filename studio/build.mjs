// Builds Studio into `dist`: one script, one style sheet and an icon, named by their content so that browsers may keep
// them for ever, and the page that loads them.

import { build } from "esbuild";
import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";

const FOLDER = "dist";

await rm(FOLDER, { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: ["src/main.ts", "src/style/studio.css", "src/style/icon.svg"],
  outdir: FOLDER,
  entryNames: "assets/[name]-[hash]",
  loader: { ".svg": "copy" },
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "esm",
  target: "es2022",
  metafile: true,
  logLevel: "warning",
});

let page = await readFile("index.html", "utf8");
for (const file of Object.keys(metafile.outputs)) {
  const name = path.relative(FOLDER, file).replaceAll("\\", "/");
  const plain = name.replace(/-[A-Z0-9]{8}(\.\w+)$/, "$1");
  page = page.replace(`/studio/${plain}`, `/studio/${name}`);
}
await writeFile(path.join(FOLDER, "index.html"), page);

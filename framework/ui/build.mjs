// Bundles src/ into dist/: one script, one style sheet, one page, and nothing from outside. `--watch` builds again on a change.
import { cpSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import * as esbuild from "esbuild";

const watching = process.argv.includes("--watch");
// Built beside the old one, which is served until the new one is whole.
const folder = watching ? "dist" : "dist.new";
const remove = (path) => rmSync(path, { recursive: true, force: true });

remove(folder);
mkdirSync(folder);
cpSync("src/index.html", `${folder}/index.html`);
cpSync("src/icon.svg", `${folder}/icon.svg`);

const options = {
  entryPoints: { app: "src/main.tsx", style: "src/style.css" },
  outdir: folder,
  bundle: true,
  minify: true,
  sourcemap: false,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "warning",
};

if (watching) {
  const context = await esbuild.context(options);
  await context.watch();
} else {
  await esbuild.build(options);
  remove("dist.old");
  if (existsSync("dist")) renameSync("dist", "dist.old");
  renameSync("dist.new", "dist");
  remove("dist.old");
}

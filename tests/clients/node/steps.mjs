// Steps of a client's run, as ../scripts/steps.py has them: the end of each is printed as a line of JSON.

import { readFileSync } from "node:fs";

const fields = JSON.parse(readFileSync(process.argv[2], "utf8"));
export const picture = readFileSync(fields.picture);
export const task = {
  ...fields,
  url: `${fields.server}/v1`,
  dataUrl: `data:image/png;base64,${picture.toString("base64")}`,
};
export const COLOURS = ["red", "green", "blue", "yellow", "purple", "black"];
export const SHAPES = ["circle", "square", "triangle", "star"];

const functions = new Map();

export function step(title, run) {
  functions.set(title, run);
}

export function equal(got, expected) {
  if (got !== expected) throw new Error(`${JSON.stringify(got)}, and not ${JSON.stringify(expected)}`);
}

export async function run(...packages) {
  const versions = {};
  for (const name of packages) {
    const manifest = new URL(`node_modules/${name}/package.json`, import.meta.url);
    versions[name] = JSON.parse(readFileSync(manifest, "utf8")).version;
  }
  console.log(`{"versions": ${JSON.stringify(versions)}}`);
  for (const [title, run] of functions) {
    let error = null;
    try {
      await run();
    } catch (fault) {
      console.error(fault);
      error = `${fault.name}: ${fault.message}`;
    }
    console.log(`{"step": ${JSON.stringify(title)}, "error": ${JSON.stringify(error)}}`);
  }
}

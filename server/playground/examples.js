// Questions about drawn scenes that the demo checkpoint knows, each answered at one click.

import { newPart } from "./draft.js";
import { element } from "./elements.js";
import { fetched } from "./media.js";

const FOLDER = "playground/examples/";

/** Fills the list. ask(parts): sends the message of an example. */
export async function showExamples(section, ask) {
  const response = await fetch(`${FOLDER}examples.json`);
  if (!response.ok) return;
  const examples = await response.json();
  const buttons = examples.map(({ title, question, thumbnail, content }) => {
    const button = element("button", { type: "button", onclick: async () => ask(await partsOf(content)) },
      element("img", { src: FOLDER + thumbnail, alt: "", width: 48, height: 48 }),
      element("span", {}, element("b", { textContent: title }), element("span", { className: "faint", textContent: question })));
    return element("li", {}, button);
  });
  section.querySelector("ul").replaceChildren(...buttons);
  section.hidden = false;
}

function partsOf(content) {
  return Promise.all(content.map(async (part) => {
    if (part.type === "text") return newPart("text", { text: part.text });
    const { url, frames, views, ...options } = part[part.type];
    const item = async (each) => ({ medium: await fetched(FOLDER + each.url), name: each.name ?? "" });
    const items = await Promise.all((frames ?? views ?? [{ url }]).map(item));
    return newPart(part.type, { items, options });
  }));
}

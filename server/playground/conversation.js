// The turns so far, on the page and for the next request.

import { element } from "./elements.js";
import { preview } from "./part_card.js";

export class Conversation {
  /** node: an `ol`. edit(parts): called to put a message back into the composer. */
  constructor(node, edit) {
    Object.assign(this, { node, edit, turns: [] });
  }

  /** Adds a message and the answer that comes to it. */
  add(parts, answer) {
    const question = userTurn(parts);
    const index = this.turns.length;
    const button = element("button", { type: "button", className: "edit", onclick: () => this.#takeBack(index) }, "Edit");
    button.setAttribute("aria-label", `Edit message ${index / 2 + 1} and ask again`);
    question.append(button);
    this.turns.push({ role: "user", parts, node: question }, { role: "assistant", answer, node: answer.node });
    this.node.append(question, answer.node);
  }

  /** The turns for a request. */
  get history() {
    return this.turns.map(({ role, parts, answer }) => ({ role, ...(parts ? { parts } : { text: answer.text }) }));
  }

  clear() {
    this.turns = [];
    this.node.replaceChildren();
  }

  /** Takes a message and all that came after it out of the conversation, for it to be edited. */
  #takeBack(index) {
    const { parts } = this.turns[index];
    for (const { node } of this.turns.splice(index)) node.remove();
    this.edit(parts);
  }
}

function userTurn(parts) {
  const shown = parts.map((part) => {
    if (part.type === "text") return element("p", { className: "text", textContent: part.text });
    return element("div", { className: `media ${part.type}` }, ...part.items.map(({ medium, name }) =>
      element("figure", {}, preview(medium, part.type), name ? element("figcaption", { className: "faint", textContent: name }) : null)));
  });
  return element("li", { className: "turn question", "aria-label": "Your message" }, ...shown);
}

// One part of the draft, as a card that can be edited and moved.

import { KINDS, LISTS, moved } from "./draft.js";
import { announce, element, iconButton, labelled, rename, uniqueId } from "./elements.js";
import { hasOptions, optionFields } from "./part_options.js";
import { arrange, makeMovable } from "./sortable.js";

const MOST_ROWS = 12; // of a text field, which grows with its text

export class PartCard {
  /** choose(part): has the user choose more pictures for a part that holds several. */
  constructor(part, draft, choose) {
    Object.assign(this, { part, draft });
    this.kind = KINDS[part.type];
    this.handle = iconButton("⠿", "", () => {});
    this.handle.classList.add("handle");
    this.handle.setAttribute("aria-describedby", "move-help");
    this.cost = element("span", { className: "faint tokens" });
    this.fault = element("p", { className: "fault", role: "alert", hidden: true, id: uniqueId("fault") });
    this.up = iconButton("↑", "", () => this.#moveBy(-1));
    this.down = iconButton("↓", "", () => this.#moveBy(1));
    this.remove = iconButton("✕", "", () => this.#remove());
    this.node = element(
      "li",
      { className: `part ${part.type}`, tabIndex: -1 },
      element("div", { className: "part-head" },
        this.handle, element("span", { className: "kind", textContent: this.kind }), this.cost,
        element("span", { className: "part-tools" }, this.#optionsButton(), this.up, this.down, this.remove)),
      this.#body(choose),
      this.options ?? null,
      this.fault,
    );
    this.node.dataset.part = part.id;
    makeMovable(this.node, this.handle, (index) => this.#moveTo(index));
  }

  /** Names the card and its buttons after its place. */
  place(index, total) {
    const name = `${this.kind}, part ${index + 1} of ${total}`;
    this.node.setAttribute("aria-label", name);
    for (const [button, what] of [[this.handle, "Move"], [this.up, "Move up:"], [this.down, "Move down:"], [this.remove, "Remove"]]) {
      rename(button, `${what} ${name}`);
    }
    this.up.disabled = index === 0;
    this.down.disabled = index === total - 1;
  }

  /** Shows an error at the option that it is about, or at the whole part. rest: its path inside the part. */
  showFault(message, rest = "") {
    this.fault.textContent = message;
    this.fault.hidden = !message;
    this.node.classList.toggle("faulty", Boolean(message));
    for (const control of this.node.querySelectorAll("[data-option]")) {
      const isAtFault = Boolean(message) && rest.endsWith(`.${control.dataset.option}`);
      control.setAttribute("aria-invalid", String(isAtFault));
      if (isAtFault) this.#toggleOptions(true);
    }
    const item = /\.(?:frames|views)\[(\d+)\]/.exec(rest)?.[1];
    for (const [index, node] of [...(this.list?.children ?? [])].entries()) {
      node.classList.toggle("faulty", Boolean(message) && String(index) === item);
    }
  }

  focus() {
    (this.textarea ?? this.handle).focus();
  }

  #moveBy(step) {
    const button = step < 0 ? this.up : this.down;
    this.#moveTo(this.draft.parts.indexOf(this.part) + step);
    (button.disabled ? this.handle : button).focus();
  }

  #moveTo(index) {
    this.draft.move(this.part, index);
    announce(`${this.kind} moved to place ${index + 1} of ${this.draft.parts.length}`);
  }

  #remove() {
    const index = this.draft.parts.indexOf(this.part);
    const next = this.node.nextElementSibling ?? this.node.previousElementSibling;
    this.draft.remove(this.part);
    announce(`${this.kind}, part ${index + 1}, removed`);
    (next?.querySelector(".handle") ?? document.querySelector("#add button")).focus();
  }

  #optionsButton() {
    if (!hasOptions(this.part.type)) return null;
    const fields = optionFields(this.part, () => this.draft.edited());
    this.options = element("div", { className: "fields options", hidden: true, id: uniqueId("options") }, ...fields);
    this.toggle = iconButton("Options", `Options of ${this.kind}`, () => this.#toggleOptions(this.options.hidden));
    this.toggle.setAttribute("aria-controls", this.options.id);
    this.#toggleOptions(Object.values(this.part.options).some((value) => value !== ""));
    return this.toggle;
  }

  #toggleOptions(isOpen) {
    this.options.hidden = !isOpen;
    this.toggle.setAttribute("aria-expanded", String(isOpen));
  }

  #body(choose) {
    if (this.part.type === "text") return this.#text();
    if (!(this.part.type in LISTS)) {
      return element("div", { className: "shown" }, ...this.part.items.map(({ medium }) => preview(medium, this.part.type)));
    }
    this.list = element("ol", { className: "pictures" });
    this.#listItems();
    const more = element("button", { type: "button", onclick: () => choose(this.part) }, `Add ${LISTS[this.part.type]}s`);
    return element("div", { className: "shown" }, this.list, more);
  }

  #text() {
    this.textarea = element("textarea", {
      value: this.part.text, "aria-label": "Text", placeholder: "Ask something…",
      oninput: () => {
        this.part.text = this.textarea.value;
        this.textarea.rows = rowsOf(this.part.text);
        this.draft.edited();
      },
    });
    this.textarea.rows = rowsOf(this.part.text);
    return this.textarea;
  }

  /** Adds pictures to a part that holds several. */
  addItems(items) {
    this.part.items.push(...items);
    this.#listItems();
    this.draft.edited();
  }

  #listItems() {
    this.nodes ??= new Map();
    for (const item of this.part.items) if (!this.nodes.has(item)) this.nodes.set(item, this.#listItem(item));
    arrange(this.list, this.part.items.map((item) => this.nodes.get(item)));
    for (const [index, node] of [...this.list.children].entries()) {
      const name = `${LISTS[this.part.type]} ${index + 1} of ${this.part.items.length}`;
      rename(node.querySelector(".handle"), `Move ${name}`);
      rename(node.querySelector(".remove"), `Remove ${name}`);
      node.querySelector("img")?.setAttribute("alt", name);
    }
  }

  #listItem(item) {
    const handle = iconButton("⠿", "Move", () => {});
    handle.classList.add("handle");
    handle.setAttribute("aria-describedby", "move-help");
    const remove = iconButton("✕", "Remove", () => {
      this.part.items = this.part.items.filter((other) => other !== item);
      this.#listItems();
      this.draft.edited();
      this.handle.focus();
    });
    remove.classList.add("remove");
    const name = this.part.type === "multi_view" ? this.#nameField(item) : null;
    const tools = element("div", { className: "picture-tools" }, handle, remove);
    const node = element("li", {}, preview(item.medium, "image_url"), tools, name);
    makeMovable(node, handle, (index) => {
      this.part.items = moved(this.part.items, this.part.items.indexOf(item), index);
      this.#listItems();
      this.draft.edited();
      announce(`Moved to place ${index + 1} of ${this.part.items.length}`);
    });
    return node;
  }

  #nameField(item) {
    const field = element("input", { value: item.name, maxLength: 200, placeholder: "CAM_FRONT", spellcheck: false });
    field.addEventListener("input", () => {
      item.name = field.value;
      this.draft.edited();
    });
    return labelled("Camera", field);
  }
}

/** What is seen of a medium: the picture, the video, or the address from which the server fetches it. */
export function preview(medium, type) {
  if (medium.preview === null) return element("span", { className: "address", textContent: medium.address });
  if (type === "video_url") {
    const shown = { src: medium.preview, controls: true, muted: true, preload: "metadata" };
    return element("video", { ...shown, "aria-label": medium.name });
  }
  return element("img", { src: medium.preview, alt: medium.name });
}

function rowsOf(text) {
  return Math.min(MOST_ROWS, Math.max(2, text.split("\n").length));
}

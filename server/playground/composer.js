// The draft on the page: its cards, and how parts come into it.

import { LISTS, newPart } from "./draft.js";
import { announce, counted } from "./elements.js";
import { isVideo, Medium, stem } from "./media.js";
import { PartCard } from "./part_card.js";
import { arrange } from "./sortable.js";

const $ = (id) => document.getElementById(id);
const ACCEPTS = { video_url: "video/*,.mkv,.avi", image_url: "image/*", video_frames: "image/*", multi_view: "image/*" };

export class Composer {
  constructor(draft) {
    this.draft = draft;
    this.cards = new Map();
    draft.addEventListener("order", () => this.#show());
    draft.addEventListener("change", () => this.clearFaults());
    for (const button of document.querySelectorAll("[data-add]")) {
      button.addEventListener("click", () => this.#add(button.dataset.add));
    }
    $("file").addEventListener("change", () => this.#chosen());
    $("address-toggle").addEventListener("click", () => this.#toggleAddress($("address").hidden));
    $("address").addEventListener("submit", (event) => this.#addAddress(event));
    document.addEventListener("paste", (event) => this.#paste(event));
    document.addEventListener("dragover", (event) => this.#dragged(event));
    document.addEventListener("dragleave", (event) => event.relatedTarget ?? markTarget(null));
    document.addEventListener("drop", (event) => this.#dropped(event));
    this.#show();
  }

  /** The card of the n-th part that is sent. */
  card(index) {
    return this.cards.get(this.draft.filled[index]?.id);
  }

  clearFaults() {
    for (const card of this.cards.values()) card.showFault("");
  }

  #show() {
    const { parts } = this.draft;
    for (const part of parts) {
      if (!this.cards.has(part.id)) this.cards.set(part.id, new PartCard(part, this.draft, (of) => this.#choose(of.type, of)));
    }
    const shown = parts.map((part) => this.cards.get(part.id));
    arrange($("parts"), shown.map((card) => card.node));
    this.cards = new Map(shown.map((card) => [card.part.id, card]));
    for (const [index, card] of shown.entries()) card.place(index, shown.length);
    $("empty").hidden = parts.length > 0;
  }

  #add(type) {
    if (type !== "text") this.#choose(type);
    else this.cards.get(this.draft.add(newPart("text")).id).focus();
  }

  /** Has the user choose files for a new part, or for one that holds several pictures. */
  #choose(type, part = null) {
    const input = $("file");
    Object.assign(input, { accept: ACCEPTS[type], multiple: true, value: "" });
    this.choosing = { type, part };
    input.click();
  }

  #chosen() {
    const { type, part } = this.choosing;
    this.#addFiles([...$("file").files], type, part);
  }

  /** Adds files as parts at an index. part: the part that they are added to, if it holds several pictures. */
  #addFiles(files, type = "image_url", part = null, index = this.draft.end) {
    const items = files.map((file) => ({ medium: new Medium({ name: file.name, blob: file }), name: "" }));
    const named = items.map(({ medium }) => ({ medium, name: stem(medium.name) }));
    if (part) this.cards.get(part.id)?.addItems(part.type === "multi_view" ? named : items);
    else if (type in LISTS) this.draft.add(newPart(type, { items: type === "multi_view" ? named : items }), index);
    else {
      for (const [offset, item] of items.entries()) {
        this.draft.add(newPart(isVideo(item.medium.blob) ? "video_url" : type, { items: [item] }), index + offset);
      }
    }
    announce(`${counted(files.length, "file")} added`);
  }

  #toggleAddress(isOpen) {
    $("address").hidden = !isOpen;
    $("address-toggle").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) $("address-url").focus();
  }

  #addAddress(event) {
    event.preventDefault();
    const address = $("address-url").value;
    const medium = new Medium({ name: stem(new URL(address).pathname) || "file", address });
    this.draft.add(newPart($("address-kind").value, { items: [{ medium, name: "" }] }), this.draft.end);
    $("address").reset();
    this.#toggleAddress(false);
    $("address-toggle").focus();
  }

  #paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return; // text goes where the cursor is
    event.preventDefault();
    this.#addFiles(files);
  }

  #dragged(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    markTarget(event.target.closest?.("[data-add]:not([data-add=text]), .part") ?? $("composer"));
  }

  #dropped(event) {
    const files = [...(event.dataTransfer?.files ?? [])];
    markTarget(null);
    if (files.length === 0) return;
    event.preventDefault();
    const button = event.target.closest?.("[data-add]:not([data-add=text])");
    const node = event.target.closest?.(".part");
    const part = node && this.draft.parts.find(({ id }) => String(id) === node.dataset.part);
    if (part && part.type in LISTS) this.#addFiles(files, part.type, part);
    else if (part) this.#addFiles(files, "image_url", null, this.draft.parts.indexOf(part) + (isLowerHalf(node, event) ? 1 : 0));
    else this.#addFiles(files, button?.dataset.add);
  }
}

function isLowerHalf(node, { clientY }) {
  const { top, bottom } = node.getBoundingClientRect();
  return clientY > (top + bottom) / 2;
}

/** Marks where files would be dropped. */
function markTarget(target) {
  for (const node of document.querySelectorAll(".dropping")) if (node !== target) node.classList.remove("dropping");
  target?.classList.add("dropping");
}

// The message that is being composed: an ordered list of parts.

export const KINDS = {
  text: "Text",
  image_url: "Image",
  video_url: "Video",
  video_frames: "Frames",
  multi_view: "Cameras",
};

/** Types of parts that hold several pictures, and the name of one of them. */
export const LISTS = { video_frames: "frame", multi_view: "view" };

let count = 0;

/** A part. items: media as [{medium, name}]; name is a camera's. options: the part's fields beside its URL. */
export function newPart(type, { text = "", items = [], options = {} } = {}) {
  count += 1;
  return { id: count, type, text, items, options };
}

/** The parts in their order. Sends "change" for every edit, and "order" too if parts came, went or moved. */
export class Draft extends EventTarget {
  parts = [];

  add(part, index = this.parts.length) {
    this.parts.splice(index, 0, part);
    this.#ordered();
    return part;
  }

  remove(part) {
    this.parts = this.parts.filter((other) => other !== part);
    this.#ordered();
  }

  move(part, index) {
    this.parts = moved(this.parts, this.parts.indexOf(part), index);
    this.#ordered();
  }

  replace(parts) {
    this.parts = parts;
    this.#ordered();
  }

  /** To be called after a part was edited. */
  edited() {
    this.dispatchEvent(new Event("change"));
  }

  /** The index at which media are added: before a last text that is still empty, for a question about them. */
  get end() {
    const last = this.parts.at(-1);
    return this.parts.length - (last?.type === "text" && last.text === "" ? 1 : 0);
  }

  /** The parts that say or show something. */
  get filled() {
    return this.parts.filter((part) => (part.type === "text" ? part.text !== "" : part.items.length > 0));
  }

  #ordered() {
    this.dispatchEvent(new Event("order"));
    this.dispatchEvent(new Event("change"));
  }
}

/** A copy of the list with the element at one index at another. */
export function moved(list, from, to) {
  const copy = [...list];
  copy.splice(to, 0, ...copy.splice(from, 1));
  return copy;
}

// The fields of the request beside its messages.

import { element, labelled } from "./elements.js";

const FIELDS = [
  { name: "system", label: "System message", isText: true },
  { name: "temperature", label: "Temperature", value: "0", step: "any", min: 0, max: 2, note: "0 takes the likeliest token each time." },
  { name: "top_p", label: "Top p", step: "any", min: 0, max: 1, placeholder: "1" },
  { name: "max_tokens", label: "Most answer tokens", step: 1, min: 1, placeholder: "what is left" },
  { name: "max_visual_tokens", label: "Most visual tokens", step: 1, min: 1, placeholder: "any", note: "The server picks frames and pooling to fit." },
  { name: "seed", label: "Seed", step: 1, placeholder: "random" },
];

export class Settings extends EventTarget {
  constructor(form) {
    super();
    this.controls = new Map(FIELDS.map((field) => [field.name, control(field)]));
    this.probabilities = element("input", { type: "checkbox" });
    for (const field of FIELDS) form.append(labelled(field.label, this.controls.get(field.name), field.note));
    form.append(labelled("Show the probability of each token", this.probabilities));
    form.addEventListener("input", () => this.dispatchEvent(new Event("change")));
  }

  /** The fields that have a value. */
  get values() {
    const values = {};
    for (const { name, isText } of FIELDS) {
      const { value } = this.controls.get(name);
      if (value !== "") values[name] = isText ? value : Number(value);
    }
    if (this.probabilities.checked) values.logprobs = true;
    return values;
  }

  /** Marks the field that an error names, and returns it; null if it names none. */
  markFault(param) {
    for (const [name, node] of this.controls) node.setAttribute("aria-invalid", String(name === param));
    return this.controls.get(param) ?? null;
  }
}

function control({ isText, value = "", step, min, max, placeholder = "" }) {
  if (isText) return element("textarea", { rows: 2, value, placeholder: "You are a helpful assistant." });
  const bounds = Object.fromEntries(Object.entries({ min, max }).filter(([, bound]) => bound !== undefined));
  return element("input", { type: "number", step, value, placeholder, inputMode: "decimal", ...bounds });
}

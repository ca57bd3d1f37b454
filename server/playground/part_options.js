// The options of each type of part, as docs/http.md describes them.

import { element, labelled } from "./elements.js";

const POOLING = [
  { name: "pooling", label: "Pooling", choices: ["", "none", "average", "max", "bilinear"], note: "Fewer tokens, less accurate." },
  { name: "pool_stride", label: "By", choices: ["", "2", "3", "4"], isNumber: true },
];
const OPTIONS = {
  text: [],
  image_url: [{ name: "detail", label: "Detail", choices: ["", "auto", "low", "high"] }, ...POOLING],
  video_url: [
    { name: "num_frames", label: "Frames", isNumber: true, step: 1, min: 1, placeholder: "16", note: "Evenly over the span." },
    { name: "fps", label: "or frames a second", isNumber: true, step: "any", min: 0 },
    { name: "start", label: "From second", isNumber: true, step: "any", min: 0, placeholder: "0" },
    { name: "end", label: "to second", isNumber: true, step: "any", min: 0, placeholder: "end" },
    ...POOLING,
  ],
  video_frames: POOLING,
  multi_view: POOLING,
};

/** True if parts of a type have options. */
export function hasOptions(type) {
  return OPTIONS[type].length > 0;
}

/** The fields of a part's options. changed: called after each edit. */
export function optionFields(part, changed) {
  return OPTIONS[part.type].map((option) => {
    const control = option.choices ? choice(option) : number(option);
    control.value = String(part.options[option.name] ?? "");
    control.dataset.option = option.name;
    control.addEventListener("input", () => {
      part.options[option.name] = option.isNumber && control.value !== "" ? Number(control.value) : control.value;
      changed();
    });
    return labelled(option.label, control, option.note);
  });
}

function choice({ choices }) {
  return element("select", {}, ...choices.map((value) => element("option", { value, textContent: value || "default" })));
}

function number({ step, min, placeholder = "" }) {
  return element("input", { type: "number", step, min, placeholder, inputMode: "decimal" });
}

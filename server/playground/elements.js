// DOM elements. All text goes through text nodes, never through markup.

let count = 0;

/** An element with properties, attributes (names with a hyphen, and role), listeners (onclick, …) and children. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A control with its label before it, as one element. */
export function labelled(text, control, note = null) {
  control.id ||= uniqueId("field");
  const hint = note && element("span", { className: "faint note", id: `${control.id}-note`, textContent: note });
  if (hint) control.setAttribute("aria-describedby", hint.id);
  return element("div", { className: "field" }, element("label", { for: control.id, textContent: text }), control, hint);
}

/** A small button whose name is read aloud and shown as a tooltip; `sign` is what is seen. */
export function iconButton(sign, name, onclick) {
  const button = element("button", { type: "button", className: "icon", onclick }, sign);
  rename(button, name);
  return button;
}

export function rename(button, name) {
  button.title = name;
  button.setAttribute("aria-label", name);
}

export function uniqueId(prefix) {
  count += 1;
  return `${prefix}-${count}`;
}

/** Has a screen reader say a text. */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

/** A number with separators, as in English. */
export function grouped(number) {
  return number.toLocaleString("en", { maximumFractionDigits: 1 });
}

/** "1 visual", "2 visuals". */
export function counted(number, noun) {
  return `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
}

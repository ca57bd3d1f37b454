// Lists whose items are moved by a handle: with mouse or finger, and with the arrow keys.

const BACK = ["ArrowUp", "ArrowLeft"];
const FORTH = ["ArrowDown", "ArrowRight"];

/**
 * Makes a handle move an item of a list. The list's children are its items, in order.
 *
 * move(to): moves the item to an index, in the data and in the document.
 */
export function makeMovable(item, handle, move) {
  const indexOf = () => [...item.parentElement.children].indexOf(item);

  handle.addEventListener("keydown", (event) => {
    const step = BACK.includes(event.key) ? -1 : FORTH.includes(event.key) ? 1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const to = indexOf() + step;
    if (to < 0 || to >= item.parentElement.children.length) return;
    move(to);
    handle.focus(); // a node that is moved loses it
  });

  handle.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const follow = (at) => {
      const to = indexUnder(item, at);
      if (to !== indexOf()) move(to);
    };
    const end = () => {
      item.classList.remove("moving");
      document.removeEventListener("pointermove", follow);
      document.removeEventListener("pointerup", end);
      document.removeEventListener("pointercancel", end);
      handle.focus();
    };
    item.classList.add("moving");
    document.addEventListener("pointermove", follow);
    document.addEventListener("pointerup", end);
    document.addEventListener("pointercancel", end);
  });
}

/** The index that an item under the pointer has: that of another item once the pointer has passed its middle. */
function indexUnder(item, { clientX, clientY }) {
  const items = [...item.parentElement.children];
  const from = items.indexOf(item);
  for (const [index, other] of items.entries()) {
    if (index === from) continue;
    const box = other.getBoundingClientRect();
    const inColumn = clientX >= box.left && clientX <= box.right;
    const inRow = clientY >= box.top && clientY <= box.bottom;
    if (!inColumn || !inRow) continue;
    const stacked = box.width > 0.6 * item.parentElement.clientWidth;
    const passed = stacked ? clientY - (box.top + box.bottom) / 2 : clientX - (box.left + box.right) / 2;
    if (index > from ? passed > 0 : passed < 0) return index;
  }
  return from;
}

/** Gives the list's children an order, and moves only those that are not in it. */
export function arrange(list, children) {
  for (const [index, child] of children.entries()) {
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
  }
  while (list.children.length > children.length) list.lastElementChild.remove();
}

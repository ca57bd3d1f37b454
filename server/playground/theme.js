// Light, dark, or as the system is; kept by the browser.

const STORED = "llava-interleave-theme";

export function followTheme(select) {
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  select.value = localStorage.getItem(STORED) ?? "auto";
  if (select.selectedIndex < 0) select.value = "auto";
  apply(select.value);
  select.addEventListener("change", () => {
    localStorage.setItem(STORED, select.value);
    apply(select.value);
  });
}

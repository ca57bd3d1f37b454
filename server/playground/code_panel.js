// The request as code, to copy.

import { apiKey } from "./api.js";
import { curlSample, placeholder, pythonSample } from "./code_samples.js";
import { announce } from "./elements.js";

const $ = (id) => document.getElementById(id);
const SAMPLES = { curl: curlSample, python: pythonSample };
const THANKS = 1500; // ms for which the button says that it has copied

export class CodePanel {
  language = "curl";

  /** message(): what is shown; bodyOf(message, urlOf): its body; mediaOf(message): its media. */
  constructor(message, bodyOf, mediaOf) {
    Object.assign(this, { message, bodyOf, mediaOf });
    for (const tab of document.querySelectorAll("[role=tab]")) {
      tab.addEventListener("click", () => this.#select(tab.id.replace("tab-", "")));
      tab.addEventListener("keydown", (event) => {
        if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
        this.#select(this.language === "curl" ? "python" : "curl");
        $(`tab-${this.language}`).focus();
      });
    }
    $("copy").addEventListener("click", () => this.#copy());
  }

  async show() {
    const message = this.message();
    const body = { ...(await this.bodyOf(message, placeholder)), stream: true };
    const origin = new URL(".", location.href).href;
    $("sample").textContent = SAMPLES[this.language](origin, body, this.mediaOf(message), apiKey() !== "");
  }

  #select(language) {
    this.language = language;
    for (const tab of document.querySelectorAll("[role=tab]")) {
      const isSelected = tab.id === `tab-${language}`;
      tab.setAttribute("aria-selected", String(isSelected));
      tab.tabIndex = isSelected ? 0 : -1;
    }
    $("sample").setAttribute("aria-labelledby", `tab-${language}`);
    this.show();
  }

  async #copy() {
    // Browsers give pages the clipboard on https and localhost alone; elsewhere the text is selected for Ctrl+C.
    if (!navigator.clipboard) {
      getSelection().selectAllChildren($("sample"));
      announce("Selected.");
      return;
    }
    await navigator.clipboard.writeText($("sample").textContent);
    announce("Copied.");
    $("copy").textContent = "Copied";
    setTimeout(() => ($("copy").textContent = "Copy"), THANKS);
  }
}

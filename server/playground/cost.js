// What the draft would cost, as the server's plan says; asked for while one composes.

import { ApiError, ask } from "./api.js";
import { counted, element, grouped } from "./elements.js";
import { placeInDraft } from "./request.js";

const PAUSE = 350; // ms without an edit before the plan is asked for
// The plan fetches nothing, so that it need not be sent the files. Of a data URL it may read the header.
export const NO_CONTENT = "content";

export class Cost {
  /** node: where it is shown. makeBody(): the body to plan for, null without one. fault(error): called with a refusal. */
  constructor(node, composer, makeBody, fault) {
    Object.assign(this, { node, composer, makeBody, fault });
  }

  /** Asks for the plan once the edits pause. */
  plan() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#plan(), PAUSE);
  }

  async #plan() {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const body = await this.makeBody();
    if (asking.signal.aborted) return;
    if (body === null) {
      this.#clear();
      return;
    }
    try {
      const plan = await (await ask("v1/chat/completions/plan", { body, signal: asking.signal })).json();
      if (!asking.signal.aborted) this.#show(plan, body.messages.length);
    } catch (error) {
      if (asking.signal.aborted) return;
      this.#clear();
      if (error instanceof ApiError) this.fault(error, body.messages.length);
    }
  }

  #clear() {
    this.node.replaceChildren();
    for (const card of this.composer.cards.values()) card.cost.textContent = "";
  }

  #show(plan, messageCount) {
    this.#clear();
    const most = plan.exact ? "" : "at most ";
    const share = Math.min(100, Math.ceil((100 * plan.prompt_tokens) / plan.max_model_len));
    const meter = element("div", {
      role: "meter", className: plan.fits ? "" : "over", "aria-label": "Share of the context that the prompt takes",
      "aria-valuenow": share, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuetext": `${share} %`,
    });
    meter.style.setProperty("--share", `${share}%`);
    const prompt = `${most}${grouped(plan.prompt_tokens)}`;
    const visuals = `${counted(plan.visuals, "visual")} (${counted(plan.visual_tokens, "token")})`;
    const text = plan.fits
      ? `${prompt} of ${counted(plan.max_model_len, "token")}, ${visuals}; up to ${grouped(plan.max_tokens)} for the answer`
      : `${prompt} tokens do not fit the context of ${grouped(plan.max_model_len)}`;
    this.node.append(meter, element("span", { className: plan.fits ? "faint" : "fault", textContent: text }));
    for (const part of plan.parts) {
      const place = placeInDraft(part.param.replace(/\.[^.]*$/, ""), messageCount);
      const card = place && this.composer.card(place.index);
      if (!card) continue;
      const pooled = part.pooling === "none" ? "" : `, ${part.pooling} by ${part.pool_stride}`;
      const several = part.visuals === 1 ? "" : `${counted(part.visuals, "visual")}, `;
      card.cost.textContent = `${several}${counted(part.tokens, "token")}${pooled}`;
    }
  }
}

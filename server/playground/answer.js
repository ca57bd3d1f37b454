// A streamed answer: its text, its tokens, the time of its phases, and what the model was shown.

import { counted, element, grouped } from "./elements.js";
import { sampledFrames } from "./frames.js";

// Of Server-Timing, in the order in which they begin.
const PHASES = {
  admission: "admission", fetch: "fetch", decode: "decode media", preprocess: "resize", queue: "queue",
  encode: "encode visuals", prefill: "prefill", decode_tokens: "decode tokens",
};

export class Answer {
  /** shown: the parts of the message that is answered. */
  constructor(shown) {
    this.shown = shown;
    this.text = "";
    this.tokens = 0;
    this.body = element("p", { className: "text" });
    this.facts = element("div", { className: "facts" });
    this.node = element("li", { className: "turn answer", "aria-label": "Answer", "aria-busy": "true" }, this.body, this.facts);
  }

  /** Takes one event of the stream. */
  take(event) {
    if (event.media_usage) this.usedMedia = event.media_usage;
    const choice = event.choices?.[0];
    const written = choice?.logprobs?.content;
    if (written?.length) this.body.append(...written.map(tokenNode));
    else if (choice?.delta?.content) this.body.append(choice.delta.content);
    if (choice?.delta?.content) {
      this.text += choice.delta.content;
      this.tokens += 1;
    }
    if (choice?.finish_reason) this.finish = choice.finish_reason;
    if (event.usage) this.usage = event.usage;
    if (event.server_timing) this.timing = event.server_timing;
  }

  /** Shows what it cost, once it has ended. why: of an answer that was stopped or failed. */
  async end(why = null) {
    this.node.removeAttribute("aria-busy");
    if (why) this.node.append(element("p", { className: "fault", textContent: why }));
    const how = this.finish === "length" ? "cut at the most tokens" : null;
    const parts = [this.#usage(), how].filter(Boolean);
    if (parts.length) this.facts.append(element("p", { className: "faint", textContent: parts.join("; ") }));
    if (this.timing) this.facts.append(phaseBars(this.timing));
    for (const part of this.usedMedia?.parts ?? []) {
      if (!part.sampled) continue;
      const index = Number(/content\[(\d+)\]/.exec(part.param)[1]);
      const inLast = !this.usedMedia.parts.some((other) => messageOf(other) > messageOf(part));
      const video = inLast ? this.shown[index]?.items[0]?.medium : undefined;
      this.facts.append(await sampledFrames(video, part));
    }
  }

  #usage() {
    if (!this.usage) return this.tokens ? counted(this.tokens, "event") : "";
    const { prompt_tokens: prompt, completion_tokens: completion, prompt_tokens_details: details } = this.usage;
    const cached = details?.cached_tokens ? ` (${grouped(details.cached_tokens)} cached)` : "";
    const visual = this.usedMedia?.visual_tokens ? `, ${grouped(this.usedMedia.visual_tokens)} of them visual` : "";
    const seconds = (this.timing?.decode_tokens ?? 0) / 1000;
    const speed = seconds > 0 && completion > 1 ? `, ${grouped((completion - 1) / seconds)} a second` : "";
    return `${counted(prompt, "prompt token")}${cached}${visual}; ${counted(completion, "token")} of answer${speed}`;
  }
}

function messageOf(part) {
  return Number(/messages\[(\d+)\]/.exec(part.param)[1]);
}

/** A token, the more transparent the less likely it was. */
function tokenNode({ token, logprob }) {
  const share = Math.exp(logprob);
  const node = element("span", { className: "token", textContent: token, title: `${grouped(100 * share)} %` });
  node.style.setProperty("--doubt", `${Math.round(100 * (1 - share))}%`);
  return node;
}

/** The durations as bars, all to one scale, in a table that is read aloud. */
function phaseBars(timing) {
  const longest = Math.max(...Object.keys(PHASES).map((phase) => timing[phase] ?? 0), 0.001);
  const rows = Object.entries(PHASES).filter(([phase]) => timing[phase] !== undefined).map(([phase, label]) => {
    const bar = element("div", { className: `bar ${phase}` });
    bar.style.setProperty("--share", `${(100 * timing[phase]) / longest}%`);
    return element("tr", {},
      element("th", { scope: "row", textContent: label }),
      element("td", { className: "bar-cell" }, bar),
      element("td", { textContent: `${grouped(timing[phase])} ms` }));
  });
  const caption = timing.total === undefined ? "Time" : `Time: ${grouped(timing.total)} ms in all`;
  const title = element("caption", { className: "faint", textContent: caption });
  return element("table", { className: "phases" }, title, element("tbody", {}, ...rows));
}

// The draft, the turns before it and the settings as the body of a chat request.

/** The settings that OpenAI's API does not have; its Python client takes them as `extra_body`. */
export const OWN_FIELDS = ["max_visual_tokens", "top_k", "min_p", "repetition_penalty"];

/** Content parts as the API takes them. urls: a map of media to URLs. */
export function content(parts, urls) {
  return parts.map((part) => {
    const given = Object.fromEntries(Object.entries(part.options).filter(([, value]) => value !== ""));
    const urlOf = (item) => ({ url: urls.get(item.medium) });
    switch (part.type) {
      case "text":
        return { type: "text", text: part.text };
      case "video_frames":
        return { type: part.type, video_frames: { frames: part.items.map(urlOf), ...given } };
      case "multi_view": {
        const views = part.items.map((item) => ({ ...urlOf(item), ...(item.name && { name: item.name }) }));
        return { type: part.type, multi_view: { views, ...given } };
      }
      default:
        return { type: part.type, [part.type]: { ...urlOf(part.items[0]), ...given } };
    }
  });
}

/** The body without its stream fields. turns: [{role, parts | text}]. settings: {system, …fields}. */
export function chatBody(model, turns, parts, settings, urls) {
  const { system, ...fields } = settings;
  const messages = turns.map(({ role, parts: shown, text }) => ({ role, content: shown ? content(shown, urls) : text }));
  if (system) messages.unshift({ role: "system", content: system });
  if (parts.length) messages.push({ role: "user", content: content(parts, urls) });
  return { model, messages, ...fields };
}

/** All media of some parts. */
export function mediaOf(parts) {
  return parts.flatMap((part) => part.items.map((item) => item.medium));
}

/** A map of media to what `urlOf` gives for each. */
export async function urlMap(media, urlOf) {
  return new Map(await Promise.all(media.map(async (medium) => [medium, await urlOf(medium)])));
}

/** Where in the last message an error or a plan's part is: {index of the part, the rest of the path}; null elsewhere. */
export function placeInDraft(param, messageCount) {
  const match = /^messages\[(\d+)\]\.content\[(\d+)\](?:\.(.*))?$/.exec(param ?? "");
  return match && Number(match[1]) === messageCount - 1 ? { index: Number(match[2]), rest: match[3] ?? "" } : null;
}

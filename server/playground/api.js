// Requests to the server that serves this page.

const KEY = "llava-interleave-key"; // in sessionStorage: of this tab, until it is closed

export class ApiError extends Error {
  /** error: OpenAI's error object. retryAfter: seconds, or null. */
  constructor(status, error, retryAfter = null) {
    super(error.message ?? `the server answered ${status}`);
    Object.assign(this, { status, param: error.param ?? null, code: error.code ?? null, retryAfter });
  }
}

export function apiKey() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function keepApiKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** A random id of a conversation, by which a router can send its turns to one server. */
export function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The response of a path relative to this page. Throws ApiError for an error, TypeError without a connection. */
export async function ask(path, { body = null, session = null, signal = null } = {}) {
  const headers = {};
  if (apiKey()) headers.Authorization = `Bearer ${apiKey()}`;
  if (session) headers["X-Session-ID"] = session;
  if (body !== null) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method: body === null ? "GET" : "POST",
    headers,
    body: body === null ? undefined : JSON.stringify(body),
    signal,
  });
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const seconds = response.headers.get("Retry-After");
  throw new ApiError(response.status, answer.error ?? {}, seconds === null ? null : Number(seconds));
}

/** The JSON objects of a stream of server-sent events, up to `[DONE]`. Throws ApiError for an error event. */
export async function* events(response) {
  for await (const data of eventData(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new ApiError(response.status, event.error);
    yield event;
  }
  throw new ApiError(response.status, { message: "the connection ended before the answer had" });
}

async function* eventData(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const blocks = (rest + read.value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}

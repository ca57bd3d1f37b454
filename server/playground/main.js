// The page: what is on it, and what happens when one sends a message.

import { Answer } from "./answer.js";
import { ApiError, apiKey, ask, events, keepApiKey, newSession } from "./api.js";
import { curlSample, placeholder, pythonSample } from "./code_samples.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { Cost, NO_CONTENT } from "./cost.js";
import { Draft, newPart } from "./draft.js";
import { announce, counted } from "./elements.js";
import { showExamples } from "./examples.js";
import { chatBody, mediaOf, placeInDraft, urlMap } from "./request.js";
import { Settings } from "./settings.js";
import { followTheme } from "./theme.js";

const $ = (id) => document.getElementById(id);
const origin = new URL(".", location.href).href;

const draft = new Draft();
const composer = new Composer(draft);
const conversation = new Conversation($("conversation"), (parts) => draft.replace(parts));
const settings = new Settings($("settings").querySelector(".fields"));
const cost = new Cost($("cost"), composer, planBody, showFault);
let model = null;
let session = newSession();
let sending = null;
let lastSent = null; // the body of it, for a medium's URL: what is shown as code until the next message is begun

/** The message that is composed, and the turns before it; null for an empty draft. */
function composed() {
  return draft.filled.length ? { turns: conversation.history, parts: draft.filled } : null;
}

/** The body of a message, with the URLs that `urlOf` gives for its media. */
async function bodyOf({ turns, parts }, urlOf) {
  return chatBody(model, turns, parts, settings.values, await urlMap(mediaIn({ turns, parts }), urlOf));
}

function mediaIn({ turns, parts }) {
  return mediaOf([...turns.flatMap((turn) => turn.parts ?? []), ...parts]);
}

async function planBody() {
  const message = composed();
  return message && bodyOf(message, (medium) => medium.address ?? NO_CONTENT);
}

async function send() {
  const message = composed();
  if (sending || !message) {
    if (!sending) announce("There is nothing to send yet.");
    return;
  }
  const control = (sending = new AbortController());
  showSending(true);
  clearFault();
  const messageCount = message.turns.length + 1 + ("system" in settings.values ? 1 : 0);
  let answer = null;
  try {
    const body = { ...(await bodyOf(message, (medium) => medium.url())), stream: true, stream_options: { include_usage: true } };
    const response = await ask("v1/chat/completions", { body, session, signal: control.signal });
    answer = new Answer(message.parts);
    conversation.add(message.parts, answer);
    lastSent = message;
    draft.replace([newPart("text")]);
    answer.node.scrollIntoView({ block: "nearest" });
    for await (const event of events(response)) answer.take(event);
    await answer.end();
    announce(`Answer: ${answer.text}`);
  } catch (error) {
    const why = control.signal.aborted ? "Stopped." : sentence(error);
    if (answer) await answer.end(why);
    if (answer || control.signal.aborted) announce(why);
    else showFault(error, messageCount, true);
  } finally {
    sending = null;
    showSending(false);
  }
}

function showSending(isSending) {
  $("send").disabled = isSending;
  $("send").textContent = isSending ? "Sending…" : "Send";
  $("stop").hidden = !isSending;
  $("restart").hidden = isSending || conversation.turns.length === 0;
}

/** Shows an error at the part, the option or the setting that it names, else below the message. */
function showFault(error, messageCount, isFocused = false) {
  clearFault();
  const text = sentence(error);
  if (error.status === 401) askForKey(apiKey() ? text : null);
  const place = placeInDraft(error.param, messageCount);
  const card = place && composer.card(place.index);
  if (card) {
    card.showFault(text, `.${place.rest}`);
    if (isFocused) card.node.focus();
    return;
  }
  const control = settings.markFault(error.param);
  if (control) $("settings").open = true;
  $("fault").textContent = text;
  $("fault").hidden = false;
  if (isFocused) (control ?? (error.status === 401 ? $("key") : $("send"))).focus();
}

function clearFault() {
  composer.clearFaults();
  settings.markFault(null);
  $("fault").hidden = true;
}

/** The error for people. */
function sentence(error) {
  if (error instanceof TypeError) return `The server was not reached: ${error.message}`; // as fetch has it
  const wait = error.retryAfter ? ` Try again in ${counted(error.retryAfter, "second")}.` : "";
  const message = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  return `${message}${/[.!?…]$/.test(message) ? "" : "."}${wait}`;
}

function askForKey(text) {
  $("key-form").hidden = false;
  if (text) $("key-note").textContent = text;
}

$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  keepApiKey($("key").value.trim());
  $("key").value = "";
  await describeModel();
});

async function describeModel() {
  try {
    const { data } = await (await ask("v1/models")).json();
    model = data[0].id;
    $("model").textContent = `${model}: ${counted(data[0].max_model_len, "token")} of context, ${counted(data[0].tokens_per_visual, "token")} a visual`;
    const had = !$("key-form").hidden;
    $("key-form").hidden = true;
    if (had) {
      announce("The key is accepted.");
      clearFault();
    }
    edited();
  } catch (error) {
    $("model").textContent = error.status === 401 ? "needs an API key" : sentence(error);
    if (error.status === 401) {
      askForKey(apiKey() ? sentence(error) : null);
      $("key").focus();
    }
  }
}

let language = "curl";

async function showCode() {
  const message = composed() ?? lastSent ?? { turns: [], parts: [] };
  const body = { ...(await bodyOf(message, placeholder)), stream: true };
  const sample = language === "curl" ? curlSample : pythonSample;
  $("sample").textContent = sample(origin, body, mediaIn(message), apiKey() !== "");
}

function selectLanguage(name) {
  language = name;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const isSelected = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(isSelected));
    tab.tabIndex = isSelected ? 0 : -1;
  }
  $("sample").setAttribute("aria-labelledby", `tab-${name}`);
  showCode();
}

function edited() {
  if (model === null) return;
  cost.plan();
  showCode();
}

for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => selectLanguage(tab.id.replace("tab-", "")));
  tab.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    selectLanguage(language === "curl" ? "python" : "curl");
    $(`tab-${language}`).focus();
  });
}
$("copy").addEventListener("click", async () => {
  await copyText($("sample").textContent);
  announce("Copied.");
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
});

/** Browsers give pages the clipboard on https and localhost alone; elsewhere the text is selected for Ctrl+C. */
async function copyText(text) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else getSelection().selectAllChildren($("sample"));
}

draft.addEventListener("change", edited);
draft.addEventListener("change", () => ($("fault").hidden = true));
settings.addEventListener("change", edited);
$("send").addEventListener("click", send);
$("stop").addEventListener("click", () => sending?.abort());
$("restart").addEventListener("click", () => {
  conversation.clear();
  session = newSession();
  lastSent = null;
  draft.replace([newPart("text")]);
  $("restart").hidden = true;
  announce("A new conversation.");
  composer.cards.values().next().value.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
});

followTheme($("theme"));
draft.add(newPart("text"));
await describeModel();
await showExamples($("examples"), (parts) => {
  if (sending) return;
  conversation.clear();
  session = newSession();
  draft.replace(parts);
  send();
});

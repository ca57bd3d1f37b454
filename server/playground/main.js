// The page: what is on it, and what happens when one sends a message.

import { Answer } from "./answer.js";
import { ApiError, apiKey, ask, events, keepApiKey, newSession } from "./api.js";
import { CodePanel } from "./code_panel.js";
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

const draft = new Draft();
const composer = new Composer(draft);
const conversation = new Conversation($("conversation"), editAgain);
const settings = new Settings($("settings").querySelector(".fields"));
const cost = new Cost($("cost"), composer, planBody, showFault);
const code = new CodePanel(() => composed() ?? lastSent ?? { turns: [], parts: [] }, bodyOf, mediaIn);
let model = null;
let session = newSession();
let sending = null;
let lastSent = null; // the last message and the turns before it, shown as code until the next is begun

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

/** Puts a message of the conversation back into the composer. */
function editAgain(parts) {
  sending?.abort();
  draft.replace(parts);
  showSending(false);
  composer.card(0)?.focus();
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
    const whole = await bodyOf(message, (medium) => medium.url());
    const body = { ...whole, stream: true, stream_options: { include_usage: true } };
    const response = await ask("v1/chat/completions", { body, session, signal: control.signal });
    answer = new Answer(message.parts);
    conversation.add(message.parts, answer);
    lastSent = message;
    beginMessage();
    answer.node.scrollIntoView({ block: "nearest" });
    for await (const event of events(response)) answer.take(event);
    await answer.end();
    announce(`Answer: ${answer.text}`);
  } catch (error) {
    showSending(false); // what is disabled takes no focus
    const why = control.signal.aborted ? "Stopped." : sentence(error);
    if (answer) await answer.end(why);
    if (answer || control.signal.aborted) announce(why);
    else showFault(error, messageCount, true);
  } finally {
    sending = null;
    showSending(false);
  }
}

/** Empties the composer for the next message; who has a keyboard can write at once. */
function beginMessage() {
  draft.replace([newPart("text")]);
  lock(false);
  if (matchMedia("(pointer: fine)").matches) [...composer.cards.values()][0].textarea.focus({ preventScroll: true });
}

/** While a message is on its way, what is sent and what is shown stay the same. */
function lock(isLocked) {
  for (const id of ["parts", "add", "address"]) $(id).inert = isLocked;
}

function showSending(isSending) {
  lock(isSending);
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
    const [context, visual] = [data[0].max_model_len, data[0].tokens_per_visual].map((most) => counted(most, "token"));
    $("model").textContent = `${model}: ${context} of context, ${visual} a visual`;
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

function edited() {
  if (model === null) return;
  cost.plan();
  code.show();
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
  beginMessage();
  $("restart").hidden = true;
  announce("A new conversation.");
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
});

followTheme($("theme"));
// On a phone the panels are below the message, and are opened when they are wanted.
if (matchMedia("(max-width: 900px)").matches) for (const panel of document.querySelectorAll("aside details")) panel.open = false;
draft.add(newPart("text"));
await describeModel();
await showExamples($("examples"), (parts) => {
  if (sending) return;
  conversation.clear();
  session = newSession();
  draft.replace(parts);
  send();
});

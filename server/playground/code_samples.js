// The request as a command of curl and as a program for the `openai` package of Python.
// Files are read from the folder in which the sample runs; a key comes from the environment.

import { OWN_FIELDS } from "./request.js";

const MARK = "\uE000"; // around the number of a file: a character of no language
const MARKED = new RegExp(`${MARK}(\\d+)${MARK}`, "g");

/** What stands for a medium's URL in a body that becomes a sample. */
export function placeholder(medium) {
  return medium.address ?? `${MARK}${medium.id}${MARK}`;
}

/** origin: the server's URL, with a slash at its end. media: those whose placeholders are in the body. */
export function curlSample(origin, body, media, needsKey) {
  const files = filesOf(media);
  const json = JSON.stringify(body, null, 2)
    .replaceAll(/[\\$`]/g, "\\$&") // the shell reads the document below for $( )
    .replaceAll(MARKED, (mark, id) => dataUrlInShell(files.get(Number(id)), mark));
  const key = needsKey ? ' -H "Authorization: Bearer $LLAVA_INTERLEAVE_API_KEY"' : "";
  const end = delimiter(json);
  return [
    ...[...files.values()].filter(({ source }) => source).map(({ source }) => `curl -sO ${shellQuoted(source)}`),
    `curl -sN ${shellQuoted(`${origin}v1/chat/completions`)} -H 'Content-Type: application/json'${key} -d @- <<${end}`,
    json, end, "",
  ].join("\n");
}

/** The same in Python. Fields that OpenAI's API does not have are its `extra_body`. */
export function pythonSample(origin, body, media, needsKey) {
  const files = filesOf(media);
  const isOwn = ([name]) => OWN_FIELDS.includes(name);
  const fields = Object.fromEntries(Object.entries(body).filter((entry) => !isOwn(entry)));
  const own = Object.entries(body).filter(isOwn);
  if (own.length) fields.extra_body = Object.fromEntries(own);
  const key = needsKey ? 'os.environ["LLAVA_INTERLEAVE_API_KEY"]' : '"none"';
  const imports = [...(files.size ? ["base64"] : []), ...(needsKey ? ["os"] : [])].map((name) => `import ${name}`);
  const helper = [
    "", "def data_url(path, kind):", '    with open(path, "rb") as file:',
    '        return f"data:{kind};base64,{base64.b64encode(file.read()).decode()}"', "",
  ];
  return [
    ...[...files.values()].filter(({ source }) => source).map(({ source }) => `# ${source}`),
    ...imports, ...(imports.length ? [""] : []), "import openai", "", ...(files.size ? helper : []),
    ...(files.size ? [""] : []),
    `client = openai.OpenAI(base_url=${JSON.stringify(`${origin}v1`)}, api_key=${key})`,
    "answer = client.chat.completions.create(",
    ...Object.entries(fields).map(([name, value]) => `    ${name}=${pythonLiteral(value, 1, files)},`),
    ")",
    ...(body.stream
      ? ["for event in answer:", "    if event.choices:", '        print(event.choices[0].delta.content or "", end="", flush=True)', "print()"]
      : ["print(answer.choices[0].message.content)"]),
    "",
  ].join("\n");
}

/** The files among the media by their ids: {name, type, source}, each name once. */
function filesOf(media) {
  const files = new Map();
  const taken = new Set();
  for (const { id, name, blob, source } of media.filter((medium) => medium.blob)) {
    const unique = taken.has(name) ? `${id}-${name}` : name;
    taken.add(unique);
    files.set(id, { name: unique, type: blob.type || "application/octet-stream", source });
  }
  return files;
}

function dataUrlInShell(file, mark) {
  return file ? `data:${file.type};base64,$(base64 -w0 ${shellQuoted(file.name)})` : mark;
}

function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A word that is no line of the document. */
function delimiter(text) {
  const lines = text.split("\n");
  let word = "JSON";
  while (lines.includes(word)) word += "_";
  return word;
}

function pythonLiteral(value, depth, files) {
  const pad = "    ".repeat(depth);
  const block = (open, items, close) =>
    items.length ? `${open}\n${items.map((item) => `${pad}    ${item},\n`).join("")}${pad}${close}` : open + close;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return block("[", value.map((item) => pythonLiteral(item, depth + 1, files)), "]");
  if (typeof value === "object") {
    const items = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${pythonLiteral(item, depth + 1, files)}`);
    return block("{", items, "}");
  }
  const id = typeof value === "string" && new RegExp(`^${MARK}(\\d+)${MARK}$`).exec(value)?.[1];
  const file = id && files.get(Number(id));
  // A string of JSON is one of Python.
  return file ? `data_url(${JSON.stringify(file.name)}, ${JSON.stringify(file.type)})` : JSON.stringify(value);
}

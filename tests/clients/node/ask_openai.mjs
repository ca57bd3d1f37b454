// openai-node: chats, streams, zod structures, tools and its runner of tools.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { COLOURS, SHAPES, equal, run, step, task } from "./steps.mjs";

const client = new OpenAI({ baseURL: task.url, apiKey: "none", maxRetries: 0 });
const Thing = z.object({ colour: z.enum(COLOURS), shape: z.enum(SHAPES) });
const messages = [
  {
    role: "user",
    content: [
      { type: "image_url", image_url: { url: task.dataUrl } },
      { type: "text", text: task.question },
    ],
  },
];
const options = { model: task.model, messages, temperature: 0, max_tokens: 60 };
const remember = {
  type: "function",
  function: { name: "remember", description: "Remembers a thing.", parameters: z.toJSONSchema(Thing) },
};

step("question about a picture", async () => {
  const answer = await client.chat.completions.create(options);
  equal(answer.choices[0].message.content, task.answer);
});

step("streamed with usage", async () => {
  let text = "";
  let tokens = 0;
  const stream = await client.chat.completions.create({
    ...options,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    tokens = chunk.usage?.completion_tokens ?? tokens;
  }
  equal(text, task.answer);
  equal(tokens > 0, true);
});

step("second turn after the answer's own message", async () => {
  const { message } = (await client.chat.completions.create(options)).choices[0];
  const turns = [...messages, message, { role: "user", content: task.next_question }];
  const answer = await client.chat.completions.create({ ...options, messages: turns });
  equal(answer.choices[0].message.content, task.next_answer);
});

step("`parse` with zod", async () => {
  const answer = await client.chat.completions.parse({
    ...options,
    response_format: zodResponseFormat(Thing, "thing"),
  });
  Thing.parse(answer.choices[0].message.parsed);
});

step("tool_choice named, required and auto", async () => {
  for (const tool_choice of [{ type: "function", function: { name: "remember" } }, "required"]) {
    const answer = await client.chat.completions.create({ ...options, tools: [remember], tool_choice });
    Thing.parse(JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments));
  }
  const answer = await client.chat.completions.create({ ...options, tools: [remember] });
  equal(answer.choices[0].message.content, task.answer);
});

step("`runTools`: the tool runs", async () => {
  let thing;
  const runner = client.chat.completions.runTools({
    ...options,
    tool_choice: { type: "function", function: { name: "remember" } },
    tools: [
      {
        type: "function",
        function: { ...remember.function, parse: JSON.parse, function: (value) => (thing = value) },
      },
    ],
  });
  await runner.done();
  Thing.parse(thing);
});

await run("openai");

// Vercel's AI SDK, with its two providers of OpenAI's interface.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";
import { COLOURS, SHAPES, equal, picture, run, step, task } from "./steps.mjs";

const compatible = createOpenAICompatible({
  name: "demo",
  baseURL: task.url,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const models = [compatible(task.model), createOpenAI({ baseURL: task.url, apiKey: "none" }).chat(task.model)];
const Thing = z.object({ colour: z.enum(COLOURS), shape: z.enum(SHAPES) });
const messages = [
  {
    role: "user",
    content: [
      { type: "image", image: picture },
      { type: "text", text: task.question },
    ],
  },
];
const options = { messages, temperature: 0, maxOutputTokens: 60, maxRetries: 0 };

step("`generateText` about a picture", async () => {
  for (const model of models) equal((await generateText({ ...options, model })).text, task.answer);
});

step("`streamText` with usage", async () => {
  for (const model of models) {
    const result = streamText({ ...options, model });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    equal(text, task.answer);
    equal((await result.usage).outputTokens > 0, true);
  }
});

step("second turn after `response.messages`", async () => {
  for (const model of models) {
    const first = await generateText({ ...options, model });
    const turns = [...messages, ...first.response.messages, { role: "user", content: task.next_question }];
    equal((await generateText({ ...options, model, messages: turns })).text, task.next_answer);
  }
});

step("`generateObject` and `streamObject`", async () => {
  for (const model of models) {
    Thing.parse((await generateObject({ ...options, model, schema: Thing })).object);
    let last;
    for await (const part of streamObject({ ...options, model, schema: Thing }).partialObjectStream) last = part;
    Thing.parse(last);
  }
});

const tools = {
  remember: tool({ description: "Remembers a thing.", inputSchema: Thing, execute: () => "remembered" }),
};

step("`tools` with toolChoice auto and none", async () => {
  for (const model of models)
    for (const toolChoice of ["auto", "none"])
      equal((await generateText({ ...options, model, tools, toolChoice })).text, task.answer);
});

step("toolChoice required and named: the tool runs", async () => {
  for (const model of models)
    for (const toolChoice of ["required", { type: "tool", toolName: "remember" }]) {
      const { toolResults } = await generateText({ ...options, model, tools, toolChoice });
      Thing.parse(toolResults[0].input);
      equal(toolResults[0].output, "remembered");
    }
});

step("two steps: the tool's result is sent back", async () => {
  for (const model of models) {
    const result = await generateText({
      ...options,
      model,
      tools,
      stopWhen: stepCountIs(2),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? "auto" : "required" }),
    });
    equal(result.steps.length, 2);
    equal(result.text.length > 0, true);
  }
});

step("`completionModel`", async () => {
  const { text } = await generateText({
    model: compatible.completionModel(task.model),
    prompt: "A red",
    maxOutputTokens: 8,
    maxRetries: 0,
  });
  equal(text.length > 0, true);
});

await run("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible");

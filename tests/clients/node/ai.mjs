// An unmodified Vercel AI SDK, on chat completions and on responses. Prints one line of JSON: what it got.
// Usage: node ai.mjs BASE_URL
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAI({ baseURL: process.argv[2], apiKey: "sk-anything" });
const City = z.object({ name: z.string(), people: z.number() });
const weather = tool({
  description: "Tell the weather of a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});

async function run(model) {
  const once = { model, maxRetries: 0 };
  const streamed = streamText({ ...once, prompt: "Say hello." });
  let stream = "";
  for await (const piece of streamed.textStream) stream += piece;
  const called = await generateText({
    ...once,
    prompt: "How is the weather in Paris?",
    tools: { get_weather: weather },
    stopWhen: stepCountIs(3),
  });
  const shaped = await generateObject({ ...once, schema: City, prompt: "Describe Paris as JSON." });
  return {
    plain: (await generateText({ ...once, prompt: "Say hello." })).text,
    stream,
    tool: called.text,
    structured: shaped.object,
  };
}

console.log(
  JSON.stringify({
    chat: await run(provider.chat("gpt-4o-mini")),
    responses: await run(provider.responses("gpt-4o-mini")),
  }),
);

// An unmodified OpenAI SDK. Prints one line of JSON: what it got.
// Usage: node chat.mjs BASE_URL plain|stream|tools|structured|error [MODEL] [API_KEY]
import OpenAI from "openai";

const [baseURL, scenario, model = "cope", apiKey = "anything"] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });

const ask = (content) => ({ model, messages: [{ role: "user", content }] });
const answered = ({ id, object, choices: [choice], usage }) => ({
  id,
  object,
  content: choice.message.content,
  tool_calls: choice.message.tool_calls,
  finish_reason: choice.finish_reason,
  usage,
});

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const city = {
  type: "json_schema",
  json_schema: {
    name: "city",
    strict: true,
    schema: {
      type: "object",
      properties: { name: { type: "string" }, country: { type: "string" } },
      required: ["name", "country"],
      additionalProperties: false,
    },
  },
};

const scenarios = {
  async plain() {
    return answered(await client.chat.completions.create(ask("Say ok.")));
  },

  async stream() {
    const body = { ...ask("Say ok."), stream: true, stream_options: { include_usage: true } };
    const got = { content: "", chunks: 0, finish_reason: null, usage: null };
    for await (const { choices: [choice], usage } of await client.chat.completions.create(body)) {
      got.chunks += 1;
      got.content += choice?.delta.content ?? "";
      got.finish_reason ??= choice?.finish_reason ?? null;
      got.usage ??= usage ?? null;
    }
    return got;
  },

  // Streamed, and put together by the SDK's own helper.
  async tools() {
    const runner = client.chat.completions.stream({ ...ask("How is the weather in Paris?"), tools: [weather] });
    return answered(await runner.finalChatCompletion());
  },

  async structured() {
    const body = { ...ask("Which city is the capital of France?"), response_format: city };
    const completion = await client.chat.completions.parse(body);
    return { ...answered(completion), parsed: completion.choices[0].message.parsed ?? null };
  },

  async error() {
    try {
      return answered(await client.chat.completions.create(ask("Say ok.")));
    } catch (e) {
      if (!(e instanceof OpenAI.APIError)) throw e;
      const { status, code, type, param, message } = e;
      return { name: e.constructor.name, status, code, type, param, message, retry_after: e.headers?.get("retry-after") ?? null };
    }
  },
};

if (!(scenario in scenarios)) throw new Error(`no scenario ${scenario}; there are ${Object.keys(scenarios)}`);
console.log(JSON.stringify(await scenarios[scenario]()));

// Send one request through the cascade with OpenAI's SDK for Node, and print how it was answered.
//
//     npm install openai
//     OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=... node examples/node_sdk.mjs
import OpenAI from "openai";

const client = new OpenAI(); // reads OPENAI_BASE_URL and OPENAI_API_KEY
const completion = await client.chat.completions.create(
  { model: "cope", messages: [{ role: "user", content: "What is 12 * 7? Give the number." }] },
  { headers: { "X-COPE-Session": "node-example" } },
);
console.log(completion.choices[0].message.content);

const { task, stage, confidence, model, cost_usd, baseline_usd } = completion.cope;
console.log(`task ${task}, stage ${stage}, confidence ${confidence}, model ${model}`);
console.log(`cost ${cost_usd} USD, the large model alone about ${baseline_usd} USD`);

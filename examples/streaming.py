"""Stream an answer. The last chunk carries the usage, and beside it the cost and the stage.

OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=... python examples/streaming.py
"""

from openai import OpenAI

client = OpenAI()
chunks = client.chat.completions.create(
    model="cope",
    messages=[{"role": "user", "content": "Write one sentence about the sea."}],
    stream=True,
    stream_options={"include_usage": True},
)
facts = {}
for chunk in chunks:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
    if chunk.usage:
        facts = chunk.model_extra["cope"]
print()
print(f"stage {facts['stage']}, {facts['cost_usd']} USD")

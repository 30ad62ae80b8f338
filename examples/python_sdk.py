"""Send one request through the cascade with the OpenAI SDK, and print how it was answered.

OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=... python examples/python_sdk.py
"""

from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
completion = client.chat.completions.create(
    model="cope",
    messages=[{"role": "user", "content": "What is 12 * 7? Give the number."}],
)
print(completion.choices[0].message.content)

facts = completion.model_extra["cope"]  # the one field that the proxy adds
print(
    f"task {facts['task']}, stage {facts['stage']}, confidence {facts['confidence']}, model {facts['model']}"
)
print(f"cost {facts['cost_usd']} USD, the large model alone about {facts['baseline_usd']} USD")

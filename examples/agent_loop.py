"""Run a loop of tool calls. The small model makes a call if its samples agree on the tool and its arguments.

Each turn names the same session, so that the proxy keeps the plans of the conversation. Local tool calls need
`small.tools = true` in the proxy's config; without it, the large model makes them.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=... python examples/agent_loop.py
"""

import json
import uuid

from openai import OpenAI

STOCK = {"apples": 12, "pears": 0}


def in_stock(product):
    """Return how many pieces of a product are in stock."""
    return STOCK.get(product.lower(), 0)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "in_stock",
            "description": "Return how many pieces of a product are in stock.",
            "parameters": {
                "type": "object",
                "properties": {"product": {"type": "string"}},
                "required": ["product"],
                "additionalProperties": False,
            },
        },
    }
]

client = OpenAI(default_headers={"X-COPE-Session": f"agent-{uuid.uuid4()}"})
messages = [{"role": "user", "content": "How many apples are in stock?"}]
for _ in range(5):  # an agent needs a limit of its own, too
    completion = client.chat.completions.create(model="cope", messages=messages, tools=TOOLS)
    message, facts = completion.choices[0].message, completion.model_extra["cope"]
    print(f"stage {facts['stage']}, {facts['cost_usd']} USD")
    messages.append(message.model_dump(exclude_none=True))
    if not message.tool_calls:
        print(message.content)
        break
    for call in message.tool_calls:
        result = in_stock(**json.loads(call.function.arguments))
        print(f"{call.function.name}({call.function.arguments}) = {result}")
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})

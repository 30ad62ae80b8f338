"""Limit the spend of a session and of single requests by headers.

OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=... python examples/budgets.py [SESSION]
"""

import sys
import uuid

from openai import OpenAI, RateLimitError

session = sys.argv[1] if len(sys.argv) > 1 else f"example-{uuid.uuid4()}"
# All requests of this client belong to one session, which may spend one cent in all.
client = OpenAI(default_headers={"X-COPE-Session": session, "X-COPE-Session-Budget-USD": "0.01"})


def ask(question, **headers):
    """Ask one question; keywords become X-COPE headers of this request."""
    extra = {f"X-COPE-{name.replace('_', '-')}": value for name, value in headers.items()}
    completion = client.chat.completions.create(
        model="cope",
        messages=[{"role": "user", "content": question}],
        max_completion_tokens=200,
        extra_headers=extra,
    )
    return completion.model_extra["cope"]


facts = ask("Name the capital of France.", Mode="large")
print(f"one paid answer: {facts['cost_usd']} USD, {facts['budget_remaining_usd']} USD left in the session")

# A budget of 0 keeps a request local. Nothing is sent to the large model.
facts = ask("What is 2 + 2?", Budget_USD="0", Max_Stage="1")
print(f"a local answer: stage {facts['stage']}, {facts['cost_usd']} USD")

# With `fail`, the proxy refuses a request that does not fit, and the SDK raises its usual error.
try:
    ask("Name the capital of Italy.", Mode="large", Budget_USD="0.000001", On_Budget="fail")
except RateLimitError as e:
    print(f"refused: {e.status_code} {e.code}")

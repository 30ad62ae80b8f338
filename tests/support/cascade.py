"""Questions to the cascade, and the answers that its models are scripted to give."""

MATH = "What is 6 times 7? Calculate the number."
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


def ask(client, question=MATH, **extra):
    return client.chat.completions.create(
        model="cope", messages=[{"role": "user", "content": question}], **extra
    )


def goals_and(*answers):
    """Script a small tier that writes goals and gives these answers in turn."""
    return (
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find the product."}},
        {"reply": {"contents": list(answers)}},
    )

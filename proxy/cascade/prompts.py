"""All prompts of the proxy. This is the one place to change a prompt.

Every prompt follows the client's own messages. All calls of a request then start with them, so that the prefix caches of
both models can be used. The roles come from COPE, arXiv 2506.11578.
"""

from collections.abc import Mapping, Sequence
from typing import Any

GOAL = "Do not solve this yet. Say in one short sentence what has to be reached, without code and without a solution."
NO_PLAN = "none"
GUIDELINE = (
    "Do not answer this yet. In one or two sentences of plain text, tell another assistant how to approach it and what to "
    "watch for: no code, no list, no calculation, and never the answer or a part of it. If that is plain without being "
    f"told, write only: {NO_PLAN}"
)
INPUTS = (
    "Do not solve this yet. Write five different calls of the function that is asked for, one on each line, with literal "
    "arguments as in Python. Choose usual inputs and limits. Write no results and no other text."
)
WITH_GOAL = "Goal: {goal}"
WITH_GUIDELINE = "Guideline: {guideline}"
WITH_PLAN = "Answer now, in exactly the form asked for above."
"""Without this sentence a small model replies to the plan: its answer is longer, and in another form."""
MATH_FORM = "Reason step by step, then put the final answer within \\boxed{}."
PROGRAM_FORM = (
    "Do not answer in words. Write a short Python function solve() without arguments that calculates the result step by "
    "step and returns it. Use only the standard library. Write only the code, in one Python block."
)
WORDED = "The result is {result}. Answer with it in one or two sentences, and put it within \\boxed{{}}."
"""For a result that only programs have computed. The client gets an answer in words."""
CHOICE_FORM = 'Reason briefly, then end with "The answer is (X)", X being the letter of your choice.'
JUDGE = (
    "Judge the answer above, which another assistant gave: is it correct, and as helpful as a very good one? Write only "
    "yes or no."
)
"""For an audit, after the conversation that has the answer."""
GRADE = (
    "You grade an assistant's answer. Question:\n\n{question}\n\n{reference}The answer to grade:\n\n{answer}\n\n"
    "Grade it from 1 (useless or wrong) to 10 (as good as it can be) for correctness, helpfulness and clarity. "
    'Write only "Grade: N".'
)
"""For `cope-proxy eval`, when a task has no labelled answer."""

Messages = list[dict[str, Any]]


def goal_request(messages: Sequence[Mapping[str, Any]], tools: str) -> Messages:
    """Return the messages that ask the small planner for a goal."""
    return appended(messages, _lines(tools, GOAL))


def inputs_request(messages: Sequence[Mapping[str, Any]]) -> Messages:
    """Return the messages that ask the small planner for inputs of a function."""
    return appended(messages, INPUTS)


def execution_request(
    messages: Sequence[Mapping[str, Any]], form: str, *, goal: str | None, guideline: str | None
) -> Messages:
    """Return the messages for a small executor: the task, its plans and the form of the answer.

    The form is not repeated if the last message already contains it. A program is asked for instead of the form of
    mathematics, not beside it.
    """
    asked = messages[-1].get("content") if messages else None
    if form == PROGRAM_FORM and isinstance(asked, str) and asked.endswith(MATH_FORM):
        messages = [*messages[:-1], {**messages[-1], "content": asked.removesuffix(MATH_FORM).rstrip()}]
    return appended(
        messages,
        _lines(
            WITH_GOAL.format(goal=goal) if goal else "",
            WITH_GUIDELINE.format(guideline=guideline) if guideline else "",
            WITH_PLAN if goal or guideline else "",
            "" if isinstance(asked, str) and form in asked else form,
        ),
    )


def guided_text(guideline: str) -> str:
    """Return the text for the large executor after the client's own messages."""
    return _lines(WITH_GUIDELINE.format(guideline=guideline), WITH_PLAN)


def judge_request(messages: Sequence[Mapping[str, Any]], answer: str | None) -> Messages:
    """Return the messages that ask the large model for a verdict on an answer, after the complete conversation."""
    given = {"role": "assistant", "content": answer}
    return [*(dict(m) for m in messages), given, {"role": "user", "content": JUDGE}]


PLAN_ENDS = "\n\n"
"""A plan is one paragraph. The next paragraph of a planner is the solution that its prompt forbids."""


def plan_in(text: str) -> str | None:
    """Return the plan in a planner's reply, on one line, or `None` if there is no plan or none is needed."""
    plan = " ".join(text.strip().split(PLAN_ENDS)[0].split())
    return None if plan.strip(" .").lower() in ("", NO_PLAN) else plan


def tools_text(body: Mapping[str, Any]) -> str:
    """Return a list of the request's tools for the small planner, which does not get the tools themselves."""
    functions = [t.get("function") or {} for t in body.get("tools") or () if isinstance(t, Mapping)]
    functions += [f for f in body.get("functions") or () if isinstance(f, Mapping)]
    lines = [f"- {f.get('name', '')}: {f.get('description', '')}" for f in functions]
    return "\n".join(["Tools at hand:", *lines]) if lines else ""


def appended(messages: Sequence[Mapping[str, Any]], text: str) -> Messages:
    """Return a copy of the messages with a paragraph added to the last user message.

    If the last message is not a user message (a tool result, for example), a new user message is added.
    """
    out = [dict(m) for m in messages]
    if not text:
        return out
    last = out[-1] if out else {}
    if last.get("role") != "user":
        return [*out, {"role": "user", "content": text}]
    content = last.get("content")
    if isinstance(content, list):
        last["content"] = [*content, {"type": "text", "text": "\n\n" + text}]
    else:
        last["content"] = f"{content or ''}\n\n{text}"
    return out


def _lines(*parts: str) -> str:
    return "\n\n".join(p for p in parts if p)

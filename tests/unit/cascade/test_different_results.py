"""Samples that state different results never agree, whatever stands around the results."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.cascade.kinds import KINDS
from proxy.cascade.sampling import draw
from proxy.cascade.types import Sample, Task, TaskKind
from proxy.pricing.prices import Usage

QUESTION = {
    TaskKind.MATH: "What is 17 times 23? Calculate the number.",
    TaskKind.CHOICE: "Which?\nA) one\nB) two\nC) three\nD) four\nE) five\nF) six\nG) seven\nH) eight",
    TaskKind.CODE: "Write a Python function that adds.",
    TaskKind.STRUCTURED: "Give the sum as JSON.",
    TaskKind.OPEN: "Tell me about the sea.",
}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
ANYWHERE = {
    TaskKind.MATH: [
        "\\boxed{%s}", "$\\boxed{%s}$", "The answer is %s.", "**Answer:** %s", "#### %s", "Die Antwort ist %s.", "Das Ergebnis beträgt %s.",
        "La réponse est %s.", "La respuesta es %s.", "Ответ: %s", "答案是%s。", "答案：%s", "答えは%sです。", "คำตอบคือ %s", "Jibu ni %s.",
        "উত্তর হল %s।", "సమాధానం: %s", "The result is $%s$.", "Final Answer: \\(%s\\)", "The answer is x = %s", "Answer: %s km",
        "The answer is %s%%", "The answer is 5 + 4 = %s", "The answer to the question is about %s dollars.", "<answer>%s</answer>",
    ],
    TaskKind.CHOICE: [
        "The answer is %s.", "The answer is (%s).", "Answer: %s", "**Answer:** %s", "\\boxed{%s}", "答案：%s", "Ответ: %s", "La respuesta es %s.",
        "The correct option is %s.", "Option %s is correct.", "故选%s。",
    ],
    TaskKind.STRUCTURED: ['{"sum": %s}', '{"sum": "%s", "of": [1, 2]}', "[%s, 1]", '```json\n{"sum": %s}\n```'],
    TaskKind.CODE: ["```python\ndef add(a, b):\n    return a + b + %s\n```", "```js\nfunction add(a, b) { return a + b + %s }\n```"],
    TaskKind.OPEN: ["The sea has %s waves."],
}  # fmt: skip
AT_THE_END = [
    "So 17 * 23 = %s.",
    "x = %s",
    "So, the total is \\(%s\\).",
    "The sum is %s.",
    "\\[ 17 \\cdot 23 = %s \\]",
    "So it is $%s$.",
]
ALONE = ["%s", "It is %s.", "%s km", "**%s**", "$%s$", "x = %s"]
AROUND = [
    "", "The answer is 7.", "\\boxed{7}", "#### 7", "So 3 + 4 = 7.", "It is 7.", "In 2024.", "See page 3", "1. One\n2. Two\n3. Three", "7",
    "The answer is (B).", "**C**", "B) two", "A) no\nB) no", "I like option A.", '{"sum": 7}', "{}", "```python\nx = 7\n```", "def f():\n    return 7",
    "Let me think.", "First, 4 * 5 = 20.", "So the total is 7.", "The result is 7.", "$7$", "答案是7。", "Yours,\nJohn\n3 May 2024", "Chapter 3", "$", "\\boxed{",
    "(", "**", "```", "Wait, that is wrong.", "Answer:", "The answer is", "=", "x =",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(AROUND) | st.text(max_size=12), max_size=4).map("\n".join)
NUMBERS = st.lists(st.integers(-999, 99_999), min_size=8, max_size=8, unique=True).map(
    lambda n: list(map(str, n))
)


def sample(index, text, **message):
    return Sample(
        index=index,
        message={"role": "assistant", "content": text, **message},
        finish_reason="stop",
        logprob=0.0,
        lowest_logprob=0.0,
        usage=Usage(),
    )


def verdicts(kind, samples, body, question):
    """Return whether the samples are accepted, for both stages with their default thresholds."""

    async def both():
        estimator = KINDS[kind].estimator
        task = Task(kind, body, question)
        found = []
        for threshold in estimator.default_thresholds:

            async def drawn(index):
                return samples[index]

            verdict = await draw(
                task, estimator, sample=drawn, total=len(samples), threshold=threshold, inclusive=True, early_stop=False
            )  # fmt: skip
            assert max(map(len, verdict.ballot.groups().values()), default=0) <= 1, verdict.ballot.votes
            found.append(verdict.accepted)
        return found

    return asyncio.run(both())


def body_of(question, *, tools):
    body = {"messages": [{"role": "user", "content": question}]}
    return body | {"tools": TOOLS} if tools else body


KINDS_WITH_VOTES = [kind for kind in ANYWHERE if kind is not TaskKind.OPEN]
WAYS = [(kind, kind) for kind in KINDS_WITH_VOTES] + [(TaskKind.AGENT, kind) for kind in ANYWHERE]


@pytest.mark.parametrize(("judge", "kind"), WAYS, ids=str)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), before=TEXTS, after=TEXTS, total=st.integers(1, 8))
def test_different_results_never_agree(judge, kind, data, before, after, total):
    """No estimator reaches a threshold on samples whose stated results all differ, for any text around them."""
    form = data.draw(st.sampled_from(ANYWHERE[kind] + (AT_THE_END + ALONE if kind is TaskKind.MATH else [])))
    values = list("ABCDEFGH") if kind is TaskKind.CHOICE else data.draw(NUMBERS)
    if form in AT_THE_END:
        after = ""
    if form in ALONE:
        before = after = ""
    stated = [form % value for value in values[:total]]
    texts = ["\n".join(part for part in (before, one, after) if part) for one in stated]
    question = QUESTION[kind]
    body = body_of(question, tools=judge is TaskKind.AGENT)
    samples = [sample(i, text) for i, text in enumerate(texts)]
    if total > 1 or kind is not TaskKind.OPEN:
        assert verdicts(judge, samples, body, question) == [False, False]


@settings(deadline=None)
@given(NUMBERS)
def test_different_calls_never_agree(values):
    """Calls with different arguments are different actions."""
    calls = [
        {"type": "function", "function": {"name": "look", "arguments": json.dumps({"at": v})}} for v in values
    ]
    samples = [sample(i, None, tool_calls=[call]) for i, call in enumerate(calls)]
    assert verdicts(TaskKind.AGENT, samples, body_of("Look.", tools=True), "Look.") == [False, False]


ESSAYS = [
    "The sea is older than every town on its shore. Sailors feared it and poets praised it. {}",
    "Bridges join what rivers part. In the old days a ferry had to do, and nobody was ever in time. {}",
    "My grandmother kept bees. She said that a hive is like a town, and that honey is its money. {}",
    "Winter came early that year; the roads were white before anyone had brought in the apples. {}",
]
ENDS = [
    "I can think of reasons for it, and there are 3", "It was the end of an age, in 2024.", "More is said on page 3", "Yours, John, 3 May 2024",
    "1. Salt\n2. Wind\n3", "(3)", "Chapter 3", "So there were only 3.", "And that is why I shall love it till I am 93.", "The price rose by 3%", "C", "(B)", "Plan B",
    "Some call it vitamin C.", "And then there was one.", "{}", "null", "...", "I cannot say more.", "Is that not so?", "Version 3.11", "At 3 pm.", "Call 555-0123.",
    "**3**", "Step 3: Enjoy.", "[3]", "Source: Smith (2019), p. 12", "3.", "- 3", "Fig. 3", "No. 3", "Item 3 of 3", "3/4/2024", "10:30", "x", "A", "In total, 3 lessons remain.",
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", KINDS_WITH_VOTES, ids=str)
def test_essays_are_no_votes(kind, end):
    """Four different texts that happen to end alike have no vote of a kind that they are not."""
    samples = [sample(i, essay.format(end)) for i, essay in enumerate(ESSAYS)]
    assert verdicts(kind, samples, body_of(QUESTION[kind], tools=False), QUESTION[kind]) == [False, False]


NO_ANSWERS = [
    "I cannot compute this.", "I'm sorry, but I can't help with that.", "I do not know.", "I am not sure. Maybe 42?", "Which number do you mean?", "",
    "...", "\\boxed{}", "\\boxed{?}", "\\boxed{answer}", "42 42 42 " * 40, "Ich weiß es nicht.", "Je ne sais pas.", "No lo sé.", "Я не знаю.", "我无法计算。",
    "わかりません。", "ฉันไม่ทราบ", "Sijui.", "আমি জানি না।", "నాకు తెలియదు.", "The answer might be B.", "{}", "[]", "null", '""', '{"sum": null}',
    '{"error": "no data"}', '{"name": "string"}', '{"name": "string", "age": 0, "known": false}', '{"type": "object", "properties": {"sum": {"type": "number"}}}',
    '{"a": {}, "b": []}', '{"answer": "I cannot help with that."}', '{"city": "<city>"}', '{"a": 1, "a": 2}', '<tool_call>{"name": "look"', '{"name": "look", "arguments": }',
]  # fmt: skip


@pytest.mark.parametrize("text", NO_ANSWERS)
@pytest.mark.parametrize("kind", [*KINDS_WITH_VOTES, TaskKind.AGENT], ids=str)
def test_no_answer_is_no_vote(kind, text):
    """Four samples that agree on no answer are not accepted."""
    agent = kind is TaskKind.AGENT
    if agent and text.endswith("?") and "sure" not in text:
        return  # an agent may ask back
    samples = [sample(i, text) for i in range(4)]
    question = QUESTION[TaskKind.OPEN if agent else kind]
    if agent and text[:1] in '{[n"\\4T':
        question = QUESTION[TaskKind.MATH]
    task = Task(kind, body_of(question, tools=agent), question)
    assert asyncio.run(KINDS[kind].estimator.vote(task, samples[0], ())) is None


@pytest.mark.parametrize("text", ["", " \n", "...", "***", "no " * 60, "ha" * 60, "the sea the sea " * 20, "I'm sorry, but I can't help with that.",
                                  "As an AI, I have no access to that."])  # fmt: skip
def test_empty_open_answers(text):
    """A text that says nothing, repeats itself or refuses is likely to the model, and no confidence comes of it."""
    assert verdicts_of_open(text) == [False, False]


def verdicts_of_open(text):
    async def both():
        estimator = KINDS[TaskKind.OPEN].estimator
        task = Task(TaskKind.OPEN, {}, "")

        async def drawn(index):
            return sample(index, text)

        how = {"sample": drawn, "total": 4, "inclusive": True, "early_stop": True}
        return [
            (await draw(task, estimator, threshold=t, **how)).accepted for t in estimator.default_thresholds
        ]

    return asyncio.run(both())

"""Send the questions of the demo with the official SDK, all at once, and grade the answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import openai
from openai.types.chat import ChatCompletion

from proxy.cli.demo.questions import Question

_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer. Amounts are in USD.

    `votes` has the agreeing and the drawn samples of each stage.
    """

    question: Question
    text: str
    right: bool
    stage: int
    votes: tuple[tuple[int, int], ...]
    cost: Decimal
    baseline: Decimal

    @property
    def local(self) -> bool:
        """True if the small model has answered."""
        return self.stage < 3


async def ask_all(base_url: str, questions: Sequence[Question]) -> AsyncIterator[tuple[int, Answer]]:
    """Yield the answers in the order of their arrival, each with the index of its question.

    Raises:
        openai.OpenAIError: a question was not answered.
    """
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(sdk(base_url, "unused"))

        async def ask(index: int) -> tuple[int, Answer]:
            return index, await _ask(client, questions[index])

        tasks = [asyncio.create_task(ask(index)) for index in range(len(questions))]
        stack.callback(lambda: [task.cancel() for task in tasks])
        for done in asyncio.as_completed(tasks):
            yield await done


def sdk(base_url: str, api_key: str) -> openai.AsyncOpenAI:
    """Return a client for a server on this machine. It never goes through HTTP_PROXY."""
    transport = openai.DefaultAsyncHttpxClient(trust_env=False)
    return openai.AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=_TIMEOUT_S, http_client=transport)


async def _ask(client: openai.AsyncOpenAI, question: Question) -> Answer:
    completion = await client.chat.completions.create(
        model="cope",
        messages=[{"role": "user", "content": question.text}],
        temperature=0,  # the large model answers greedily; the stages of the cascade have their own temperatures
        response_format=question.response_format or openai.omit,
    )
    return await graded(question, completion)


async def graded(question: Question, completion: ChatCompletion) -> Answer:
    """Return the answer in a completion, with its grade."""
    facts = (completion.model_extra or {})["cope"]
    choice = completion.choices[0]
    text = choice.message.content or ""
    complete = question.may_be_cut or choice.finish_reason != "length"
    return Answer(
        question=question,
        text=text,
        right=complete and await question.check(text),
        stage=facts["stage"],
        votes=tuple((stage["agreed"], stage["drawn"]) for stage in facts["stages"]),
        cost=Decimal(facts["cost_usd"]),
        baseline=Decimal(facts["baseline_usd"]),
    )


async def warm_up(base_url: str, api_key: str, model: str) -> None:
    """Let the engine answer once, with a schema, so that the first question does not wait for lazy imports."""
    async with sdk(base_url, api_key).with_options(max_retries=0) as client:
        with contextlib.suppress(openai.OpenAIError):  # the questions will show the same error
            await client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "Is water wet?"}],
                max_tokens=8,
                logprobs=True,
                response_format={"type": "json_object"},
            )

"""Unmodified client libraries against a base URL: `run.py LIBRARY BASE_URL...` prints what each one got as JSON.

Every library asks for the same four things in its own way: a text, the same streamed, an answer after a tool call that
it carries out itself, and a structured answer. This file runs in an environment of its own and imports nothing of the
proxy.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pydantic

MODEL, KEY = "gpt-4o-mini", "sk-anything"
HELLO, WEATHER = "Say hello.", "How is the weather in Paris?"
DESCRIBE = "Describe Paris as JSON."

# Nothing here may phone home.
os.environ.update(
    {
        "OPENAI_API_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "ANONYMIZED_TELEMETRY": "false",
    }
)


class City(pydantic.BaseModel):
    """A city."""

    name: str
    people: int


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


def langchain(url):
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    out = {}
    for kind, responses in (("chat", False), ("responses", True)):
        chat = ChatOpenAI(model=MODEL, base_url=url, max_retries=0, use_responses_api=responses)
        weather = tool(get_weather)
        history = [HumanMessage(WEATHER)]
        with_tools = chat.bind_tools([weather])
        history.append(with_tools.invoke(history))
        calls = history[-1].tool_calls
        history += [ToolMessage(weather.invoke(c["args"]), tool_call_id=c["id"]) for c in calls]
        out[kind] = {
            "plain": chat.invoke(HELLO).text,
            "stream": "".join(chunk.text for chunk in chat.stream(HELLO)),
            "tool": with_tools.invoke(history).text,
            "structured": chat.with_structured_output(City).invoke(DESCRIBE).model_dump(),
        }
    return out


def llama_index(url):
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai import OpenAI

    llm = OpenAI(model=MODEL, api_base=url, max_retries=0)
    tool = FunctionTool.from_defaults(fn=get_weather)
    history = [ChatMessage(role="user", content=WEATHER)]
    asked = llm.chat_with_tools([tool], chat_history=history)
    history.append(asked.message)
    for call in llm.get_tool_calls_from_response(asked):
        said = str(tool(**call.tool_kwargs))
        history.append(
            ChatMessage(role="tool", content=said, additional_kwargs={"tool_call_id": call.tool_id})
        )
    return {
        "plain": llm.complete(HELLO).text,
        "stream": "".join(chunk.delta for chunk in llm.stream_complete(HELLO)),
        "tool": llm.chat_with_tools([tool], chat_history=history).message.content,
    }


def pydantic_ai(url):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.output import NativeOutput
    from pydantic_ai.providers.openai import OpenAIProvider

    async def run(model):
        agent = Agent(model)
        async with agent.run_stream(HELLO) as result:
            streamed = "".join([piece async for piece in result.stream_text(delta=True)])
        with_tool = Agent(model, tools=[get_weather])
        shaped = Agent(model, output_type=NativeOutput(City))
        return {
            "plain": (await agent.run(HELLO)).output,
            "stream": streamed,
            "tool": (await with_tool.run(WEATHER)).output,
            "structured": (await shaped.run(DESCRIBE)).output.model_dump(),
        }

    async def both():
        provider = OpenAIProvider(base_url=url, api_key=KEY)
        return {
            "chat": await run(OpenAIChatModel(MODEL, provider=provider)),
            "responses": await run(OpenAIResponsesModel(MODEL, provider=provider)),
        }

    return asyncio.run(both())


def instructor(url):
    import instructor
    import openai

    client = instructor.from_openai(openai.OpenAI(base_url=url, max_retries=0))
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Extract the city."}]}
    *_, streamed = client.chat.completions.create_partial(response_model=City, **asked)
    return {
        "structured": client.chat.completions.create(response_model=City, **asked).model_dump(),
        "stream": streamed.model_dump(),
    }


def agents(url):
    from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
    from openai import AsyncOpenAI

    async def run(model):
        tool = function_tool(get_weather)
        agent = Agent(name="a", model=model, tools=[tool])
        streamed = Runner.run_streamed(Agent(name="b", model=model), HELLO)
        pieces = [
            e.data.delta
            async for e in streamed.stream_events()
            if e.type == "raw_response_event" and e.data.type == "response.output_text.delta"
        ]
        shaped = Agent(name="c", model=model, output_type=City)
        return {
            "plain": (await Runner.run(Agent(name="b", model=model), HELLO)).final_output,
            "stream": "".join(pieces),
            "tool": (await Runner.run(agent, WEATHER)).final_output,
            "structured": (await Runner.run(shaped, DESCRIBE)).final_output.model_dump(),
        }

    async def both():
        client = AsyncOpenAI(base_url=url, max_retries=0)
        return {
            "chat": await run(OpenAIChatCompletionsModel(MODEL, client)),
            "responses": await run(OpenAIResponsesModel(MODEL, client)),
        }

    return asyncio.run(both())


def litellm(url):
    import litellm

    litellm.telemetry = False

    def ask(messages, **extra):
        return litellm.completion(
            model=f"openai/{MODEL}", api_base=url, api_key=KEY, messages=messages, max_retries=0, **extra
        )

    function = {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    history = [{"role": "user", "content": WEATHER}]
    tools = [{"type": "function", "function": function}]
    message = ask(history, tools=tools).choices[0].message
    history.append(message.model_dump())
    for call in message.tool_calls:
        said = get_weather(**json.loads(call.function.arguments))
        history.append({"role": "tool", "tool_call_id": call.id, "content": said})
    hello = [{"role": "user", "content": HELLO}]
    shaped = ask([{"role": "user", "content": DESCRIBE}], response_format=City)
    return {
        "plain": ask(hello).choices[0].message.content,
        "stream": "".join(c.choices[0].delta.content or "" for c in ask(hello, stream=True)),
        "tool": ask(history, tools=tools).choices[0].message.content,
        "structured": json.loads(shaped.choices[0].message.content),
    }


def llm(url):
    with tempfile.TemporaryDirectory() as folder:
        known = f'- model_id: cope\n  model_name: {MODEL}\n  api_base: "{url}"\n'
        Path(folder, "extra-openai-models.yaml").write_text(known)
        program = [str(Path(sys.executable).with_name("llm")), "-m", "cope", "--key", KEY]

        def ask(*options):
            done = subprocess.run(
                [*program, *options, HELLO],
                env={**os.environ, "LLM_USER_PATH": folder},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            return done.stdout.strip()

        return {"stream": ask(), "plain": ask("--no-stream")}


LIBRARIES = {f.__name__: f for f in (langchain, llama_index, pydantic_ai, instructor, agents, litellm, llm)}

if __name__ == "__main__":
    name, *urls = sys.argv[1:]
    print(json.dumps([LIBRARIES[name](url) for url in urls]))

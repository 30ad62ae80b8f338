"""Responses over raw ASGI."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from proxy.http import asgi_reply
from proxy.http.asgi_reply import AsgiReply, kept_alive

EVENTS = st.lists(
    st.tuples(
        st.sampled_from([b'{"a":1}', b"[DONE]", b'{"a":\n1}', "é".encode()]),
        st.none() | st.sampled_from(["error", "response.created"]),
    ),
    min_size=1,
)


def sent(work):
    """Return the bytes of the bodies that a piece of work sends, and how many there were."""
    bodies = []

    async def send(message):
        bodies.append(message.get("body", b""))

    asyncio.run(work(AsgiReply(send)))
    return b"".join(bodies), len(bodies)


@given(EVENTS)
def test_events_together(events):
    """Events that are sent together have the same bytes as one after the other, and are one message."""

    async def together(reply):
        await reply.events(events)

    async def alone(reply):
        for event in events:
            await reply.events([event])

    raw, messages = sent(together)
    assert (raw, messages) == (sent(alone)[0], 1)
    assert raw.count(b"\n\n") == len(events)


def test_comment_starts_no_answer():
    """A comment opens the stream, and another model may still answer in it. After the end there is none."""

    async def commented(reply):
        await reply.comment({})
        assert (reply.started, reply.answering) == (True, False)
        await reply.close()
        await reply.comment({})

    assert sent(commented)[0] == b": keep-alive\n\n"


def test_short_stream_has_no_comment():
    """A stream that ends at once is not commented."""

    async def short(reply):
        async with kept_alive(reply, {}):
            await reply.open({})
            await reply.close()

    assert asgi_reply.KEEP_ALIVE_S > 1
    assert sent(short)[0] == b""

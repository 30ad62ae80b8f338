"""Random answers with odd values at random places, and their streams in random pieces."""

import math

from tests.support.odd import COMPLETE, MISSING, ODD, STREAMED, changed, paths, raw


def odd_value(rng, depth=0):
    """Return a value that should not be there."""
    kind = rng.randrange(8)
    if kind == 0:
        return MISSING if depth == 0 else None
    if kind == 1:
        return rng.choice(
            [0, 1, -1, 2**31, 2**63, 2**64, 10**40, rng.random() * 10 ** rng.randrange(-300, 300)]
        )
    if kind == 2:
        return rng.choice([math.nan, math.inf, -math.inf, True, False])
    if kind == 3:
        return "".join(
            rng.choice(["a", "\ud83d", "\ude00", "\0", '"', "\\", "\n", "é", "😀", "data:"])
            for _ in range(rng.randrange(9))
        )
    if kind == 4 and depth < 3:
        return [odd_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 5 and depth < 3:
        return {
            rng.choice(["type", "text", "id", "a", "usage"]): odd_value(rng, depth + 1)
            for _ in range(rng.randrange(3))
        }
    return rng.choice(list(ODD.values()))


def mutated(rng, good, keep):
    """Return a copy with up to three odd values. `keep` are beginnings of paths that stay."""
    out = good
    for _ in range(rng.randrange(1, 4)):
        places = [p for p in paths(out) if not any(p[: len(k)] == k for k in keep)]
        if places:
            out = changed(out, rng.choice(places), odd_value(rng))
    return out


def cases(rng, count):
    """Yield (path, whether it is a stream, the answer or the chunks)."""
    for _ in range(count):
        if rng.random() < 0.5:
            path = rng.choice(list(STREAMED))
            # A response that never says that it has ended is cut off, and the proxy says so.
            keep = [(len(STREAMED[path]) - 1, "type")] if path == "/responses" else []
            answer = mutated(rng, STREAMED[path], keep)
            if path == "/responses" and (
                not answer or not str(answer[-1:]).startswith("[{'type': 'response.completed'")
            ):
                answer = STREAMED[path]
            # A stream without a single object is an error in words.
            yield path, True, answer if any(c and isinstance(c, dict) for c in answer) else STREAMED[path]
        else:
            path = rng.choice(list(COMPLETE))
            yield path, False, mutated(rng, COMPLETE[path], [])


def stream_bytes(rng, path, chunks, ends=(b"\n", b"\r\n", b"\r")):
    """Return a stream in pieces, cut anywhere, with line ends of any kind."""
    end = rng.choice(ends)
    begin = b"\xef\xbb\xbf" if rng.random() < 0.1 and len(ends) > 2 else b""
    named = [b"event: message" + end if rng.random() < 0.2 else b"" for _ in chunks]
    body = begin + b"".join(n + b"data: " + raw(c) + end * 2 for n, c in zip(named, chunks, strict=True))
    body += b"data: [DONE]" + end * 2 if path != "/responses" else b""
    cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(5)))
    return [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]

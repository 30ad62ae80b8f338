"""Try one regular expression, given as JSON on standard input, on texts of growing length made of its own letters.

Prints each text before it is tried, and a line that begins with "! " for one that takes more than its share of time.
"""

import collections
import json
import random
import re
import sys
import time
from re import _constants as codes
from re import _parser as parser

SIZES = (40, 400, 2_000, 16_000)
SLOW = 0.06  # seconds: what a quadratic one takes at least for the largest size
STEEP = 20.0  # times as long for 8 times the text: between linear (8) and quadratic (64)
MOST = 60
MANY = 16
REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT)
IN_CLASSES = {
    codes.CATEGORY_DIGIT: "1",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_SPACE: ".",
    codes.CATEGORY_NOT_WORD: ".",
    codes.CATEGORY_NOT_DIGIT: "a",
}


def words(tree):
    """Yield the literal words of a parsed pattern, and one letter of each of its classes."""
    literal = ""
    for code, value in tree:
        if code is codes.LITERAL:
            literal += chr(value)
            continue
        if literal:
            yield literal
            literal = ""
        yield from inner(code, value)
    if literal:
        yield literal


def repeated(tree):
    """Yield a letter or word of each part that may be repeated without end."""
    for code, value in tree:
        if code in REPEATS and value[1] > MANY:
            yield from words(value[2])
        for part in subpatterns(value):
            yield from repeated(part)


def asserted(tree):
    """Yield the words of each look-ahead and look-behind: a repeat that meets one may give back all that it took."""
    for code, value in tree:
        if code in (codes.ASSERT, codes.ASSERT_NOT):
            yield from words(value[1])
        for part in subpatterns(value):
            yield from asserted(part)


def subpatterns(value):
    for part in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(part, parser.SubPattern):
            yield part
        elif isinstance(part, (tuple, list)):
            yield from subpatterns(part)


def inner(code, value):
    if code in (codes.NOT_LITERAL, codes.ANY):
        yield "a"
    elif code is codes.IN:
        for kind, item in value:
            if kind is codes.LITERAL:
                yield chr(item)
            elif kind is codes.RANGE:
                yield chr(item[0])
            elif kind is codes.CATEGORY:
                yield IN_CLASSES[item]
    elif isinstance(value, parser.SubPattern):
        yield from words(value)
    elif isinstance(value, (tuple, list)):
        for part in value:
            if isinstance(part, parser.SubPattern):
                yield from words(part)
            elif isinstance(part, list):
                yield from inner(None, part)


def texts(pattern, flags):
    """Yield (beginning, repeated part, end): each word repeated, then some pairs, after a word and before another."""
    tree = parser.parse(pattern, flags)
    ends = list(dict.fromkeys(asserted(tree)))[:24]
    for part in list(dict.fromkeys(repeated(tree)))[:12] if ends else ():
        for end in ends:
            yield "", part, end
    known = list(dict.fromkeys([*words(tree), "1", " ", "a", "\n"]))
    lot = random.Random(pattern)
    singles = known if len(known) <= 24 else lot.sample(known, 24)
    for word in singles:
        yield "", word, ""
        yield "", word, "\0"
    for word in singles:
        yield lot.choice(known), word, "\0"
        yield word, " ", "\0"
        yield word, "\n", "\0"
    blanks = [w for w in known if w.isspace() or len(w) == 1]
    for _ in range(MOST):
        start = "".join(lot.choices(known, k=lot.randint(0, 3)))
        part = "".join(lot.choices(lot.choice([known, blanks]), k=lot.randint(1, 3)))
        yield start, part, lot.choice(["\0", "", lot.choice(known)])


def seconds(pattern, text, ways):
    started = time.process_time()
    for way in ways:
        found = getattr(pattern, way)(text)
        if way == "finditer":
            collections.deque(found, maxlen=0)
    return time.process_time() - started


def main():
    written, flags, ways = json.load(sys.stdin)
    pattern = re.compile(written, flags)
    print(flush=True)
    for start, part, end in texts(written, flags & ~re.DEBUG):
        print(repr((start, part, end)), flush=True)
        took = []
        for size in SIZES:
            text = start + part * (size // len(part)) + end
            took.append(seconds(pattern, text, ways))
        if took[-1] > SLOW and took[-1] > STEEP * took[-2]:
            again = min(seconds(pattern, text, ways) for _ in range(2))
            if again > SLOW and again > STEEP * took[-2]:
                print(f"! {(start, part, end)!r}: {took[-2]:.4f} s, then {again:.4f} s", flush=True)
                return
    print("done")


main()

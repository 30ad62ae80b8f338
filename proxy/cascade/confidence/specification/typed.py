"""Make inputs for a function that a request shows no arguments for: from types, names of parameters, and the text."""

import ast
import itertools
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from proxy.cascade.confidence.specification.domain import Domain
from proxy.cascade.confidence.specification.literals import Parser, value_of
from proxy.cascade.confidence.specification.records import Arguments, Parameter, Signature

Maker = Callable[[random.Random], Any]

MOST_INPUTS = 10
_QUOTED = re.compile(r"(?<!\w)\"([^\"\n\\]{1,40})\"|(?<!\w)'([^'\n\\]{1,40})'(?!\w)")
_NOUN = re.compile(
    r"(?:(?P<many>lists?|arrays?|sequences?|vectors?|collections?) of (?:(?P<inner>lists?|arrays?|tuples?) of )?)?"
    r"(?:(?:non-empty|sorted|unsorted|given|positive|negative|non-negative|natural|unique|distinct|input|binary|decimal"
    r"|lowercase|single|random|nested|different|random|signed|valid|simple) ){0,3}"
    r"(?P<noun>strings?|words?|sentences?|texts?|characters?|names?|integers?|ints?|numbers?|floats?|decimals?"
    r"|dictionar(?:y|ies)|dicts?|tuples?|sets?|matri(?:x|ces)|booleans?|bools?|elements?|items?|lists?|arrays?)\b",
    re.IGNORECASE,
)
_TAKES = re.compile(
    r"\b(?:takes?|taking|accepts?|accepting|receives?|given|gets?|find|reverses?|checks? (?:if|whether)|convert|count|sort)"
    r"\s{1,3}(?:in |of |the \w{1,12} of )?(?:as (?:its |an? )?(?:inputs?|arguments?|parameters?) )?",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(
    r"(?:\s{0,3},?\s{0,2}(?:and |or )?)?(an?|the|one|two|three|2|3)\s{1,3}(?:given )?", re.IGNORECASE
)
_DOCUMENTED = re.compile(
    r"(?:^|[\s`*:])([A-Za-z_]\w{0,40})[`*]{0,3}\s{0,2}(?:\(|:|-|is|as)\s{0,2}[`*]{0,3}"
    r"((?:[Ll]ist|[Tt]uple|[Dd]ict|[Ss]et|[Oo]ptional)\[[^\n\]]{1,40}\]+|[A-Za-z][A-Za-z \-]{1,40})"
)
_NAMES = {
    "int": "n k m x y i j a b c num number count limit target index size length width height year age start end low high"
    " base exp exponent power degree amount step val value num1 num2 n1 n2 max_value min_value total digit digits day month",
    "str": "s st str string text word sentence name char ch pattern substring sub prefix suffix phrase message password str1"
    " str2 s1 s2 string1 string2 word1 word2 line paragraph input_string input_str text1 text2 binary roman email",
    "List[int]": "arr array nums numbers lst list l li ls xs ys values items data elements seq sequence integers prices"
    " heights scores ages lst1 lst2 list1 list2 arr1 arr2 nums1 nums2 a_list input_list my_list"
    " num_list vec weights stack queue",
    "List[str]": "words strings names strs texts sentences lines tokens",
    "List[List[int]]": "matrix grid board mat lists intervals points edges arrays rows matrix1 matrix2",
    "Dict[str, int]": "d dict dictionary mapping dct dict1 dict2 counts my_dict",
    "Tuple[int, int]": "tup tuple1 tuple2 test_tup test_tup1 test_tup2 pair point",
    "bool": "flag",
}
_KIND_OF = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_WORDS = {
    **dict.fromkeys(("string", "word", "sentence", "text", "name", "str", "character"), "str"),
    **dict.fromkeys(("integer", "int", "number", "digit"), "int"),
    **dict.fromkeys(("float", "decimal", "double", "real"), "float"),
    **dict.fromkeys(("dictionary", "dict", "dictionarie", "mapping"), "Dict[str, int]"),
    **dict.fromkeys(("tuple",), "Tuple[int, int]"),
    **dict.fromkeys(("set",), "Set[int]"),
    **dict.fromkeys(("matrix", "matrice"), "List[List[int]]"),
    **dict.fromkeys(("boolean", "bool"), "bool"),
    **dict.fromkeys(("list", "array", "sequence"), "List[int]"),
    **dict.fromkeys(("element", "item"), "int"),
}


def made_inputs(
    signature: Signature, text: str, domain: Domain, parser: Parser, rng: random.Random
) -> Iterator[Arguments]:
    """Yield inputs for a function. Yield none if the type of a parameter is unknown."""
    maker = Values(text, domain)
    parameters = signature.parameters
    if parameters is None:
        described = list(_described(text))
        parameters = tuple(Parameter(name="", annotation=kind) for kind in described) or None
    if not parameters:
        return
    documented = _documented(text)
    required = [p for p in parameters if not p.optional]
    makers = [maker.of(_kind(p, documented), parser) for p in required]
    if len(required) == 1 and makers[0] is None and (kind := next(_described(text), None)):
        makers = [maker.of(kind, parser)]
    known = [(p, m) for p, m in zip(required, makers, strict=True) if m is not None]
    if len(known) < len(required) or not known:
        return
    for _ in range(MOST_INPUTS):
        made = [(p, m(rng)) for p, m in known]
        if all(domain.allows(v) for _, v in made):
            given = tuple(v for p, v in made if not p.by_name)
            yield Arguments(given, tuple((p.name, v) for p, v in made if p.by_name))


class Values:
    """Makers of random values for annotations. The text's own numbers and strings are among the values."""

    def __init__(self, text: str, domain: Domain) -> None:
        ints = [0, 1, 2, 3, 4, 5, 7, 8, 10, 12, 16, 25, 31, 100, -1, -2, -7, *domain.numbers]
        self._ints = list(filter(domain.allows, ints)) or ints
        quoted = [m[1] or m[2] for m in itertools.islice(_QUOTED.finditer(text), 8)]
        self._strings = [
            "",
            "a",
            "abcab",
            "Hello World",
            "12321",
            "aAbB cC",
            "racecar",
            "The quick, brown fox!",
            *quoted,
        ]

    def of(self, annotation: str, parser: Parser) -> Maker | None:
        """Return a maker of values, or `None` if the annotation is unknown."""
        tree = parser.tree(annotation.strip()) if annotation else None
        expression = tree.body[0] if tree and len(tree.body) == 1 else None
        return self._of(expression.value, 0) if isinstance(expression, ast.Expr) else None

    def _of(self, node: ast.expr, depth: int) -> Maker | None:
        if depth > 5:
            return None
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name):
                return self._named(name, depth)
            case ast.Constant(value=str(written)) if written.isidentifier():
                return self._named(written, depth)
            case ast.BinOp(op=ast.BitOr(), left=left, right=right):
                return self._one_of([left, right], depth)
            case ast.Subscript(value=ast.Attribute(attr=name) | ast.Name(id=name), slice=inner):
                parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                return self._generic(name.lower(), parts, depth)
            case _:
                return None

    def _named(self, name: str, depth: int) -> Maker | None:
        match name.lower():
            case "int" | "integer":
                return lambda rng: rng.choice(self._ints)
            case "float" | "number" | "real":
                return lambda rng: rng.choice([0.0, 0.5, 1.5, -2.25, 3.0, 10.75, 100.0])
            case "str" | "string" | "anystr":
                return lambda rng: rng.choice(self._strings)
            case "bool" | "boolean":
                return lambda rng: rng.random() < 0.5
            case "list" | "sequence" | "iterable" | "collection" | "iterator" | "deque":
                return self._generic("list", [ast.Name("int")], depth)
            case "dict" | "mapping":
                return self._generic("dict", [ast.Name("str"), ast.Name("int")], depth)
            case "tuple":
                return self._generic("tuple", [ast.Name("int"), ast.Name("int")], depth)
            case "set" | "frozenset":
                return self._generic("set", [ast.Name("int")], depth)
            case "bytes":
                return lambda rng: rng.choice(self._strings).encode()
            case _:
                return None

    def _one_of(self, nodes: list[ast.expr], depth: int) -> Maker | None:
        some = [n for n in nodes if not (isinstance(n, ast.Constant) and n.value is None)]
        makers = [m for m in (self._of(n, depth + 1) for n in some) if m is not None]
        return (lambda rng: rng.choice(makers)(rng)) if makers and len(makers) == len(some) else None

    def _generic(self, name: str, parts: list[ast.expr], depth: int) -> Maker | None:
        if name in ("optional", "union", "final", "annotated"):
            return self._one_of(parts[:1] if name == "annotated" else parts, depth)
        if name == "literal":
            values = [v[0] for v in map(value_of, parts) if v is not None]
            return (lambda rng: rng.choice(values)) if values else None
        if name == "tuple" and not (len(parts) == 2 and isinstance(parts[1], ast.Constant)):
            makers = [self._of(p, depth + 1) for p in parts]
            known = [m for m in makers if m is not None]
            return (lambda rng: tuple(m(rng) for m in known)) if len(known) == len(makers) else None
        of = self._of(parts[0], depth + 1)
        if of is None:
            return None
        if name in ("list", "sequence", "iterable", "collection", "iterator", "deque"):
            return lambda rng: _some(of, rng)
        if name == "tuple":
            return lambda rng: tuple(_some(of, rng))
        try:
            if name in ("set", "frozenset", "abstractset"):
                return lambda rng: set(map(_hashable, _some(of, rng)))
            if name in ("dict", "mapping", "defaultdict", "counter"):
                value = self._of(parts[1], depth + 1) if len(parts) > 1 else self._named("int", depth)
                return (
                    None if value is None else lambda rng: {_hashable(k): value(rng) for k in _some(of, rng)}
                )
        except TypeError:
            return None
        return None


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _some(of: Maker, rng: random.Random) -> list[Any]:
    """Return a short list, often with equal values, sometimes empty."""
    values = [of(rng) for _ in range(rng.choice([0, 1, 2, 3, 4, 5, 6]))]
    if len(values) > 1 and rng.random() < 0.4:
        values[rng.randrange(len(values))] = values[0]
    return sorted(values, key=repr) if rng.random() < 0.2 else values


def _kind(parameter: Parameter, documented: dict[str, str]) -> str:
    name = parameter.name.lower()
    return parameter.annotation or documented.get(name, "") or _KIND_OF.get(name, "") or _by_ending(name)


def _by_ending(name: str) -> str:
    last = name.rstrip("0123456789").rpartition("_")[2]
    return _KIND_OF.get(last, "") if len(last) > 2 else ""


def _documented(text: str) -> dict[str, str]:
    """Return the types that a docstring gives to names: `n (int)`, `xs: a list of strings`."""
    out: dict[str, str] = {}
    for match in itertools.islice(_DOCUMENTED.finditer(text), 60):
        kind = match[2] if "[" in match[2] else _of_words(match[2])
        if kind:
            out.setdefault(match[1].lower(), kind)
    return out


def _of_words(words: str) -> str:
    noun = _NOUN.match(re.sub(r"^(?:(?:an?|the|input) ){1,2}", "", words.strip(), flags=re.IGNORECASE))
    return _of_noun(noun) if noun else ""


def _of_noun(noun: re.Match[str]) -> str:
    kind = _WORDS.get(noun["noun"].lower().removesuffix("s"), "")
    if noun["inner"]:
        kind = f"List[{kind}]" if noun["inner"].lower()[0] != "t" else f"Tuple[{kind}, {kind}]"
    return f"List[{kind}]" if noun["many"] and kind else kind


def _described(text: str) -> Iterator[str]:
    """Yield the types of the arguments that a sentence gives: "takes a list of integers and a string"."""
    for takes in itertools.islice(_TAKES.finditer(text), 6):
        at, found = takes.end(), False
        for _ in range(3):
            many = _HOW_MANY.match(text, at)
            noun = _NOUN.match(text, many.end()) if many else None
            kind = _of_noun(noun) if noun else ""
            if not many or not noun or not kind:
                break
            count = {"two": 2, "2": 2, "three": 3, "3": 3}.get(many[1].lower(), 1)
            yield from [kind] * count
            at, found = noun.end(), True
        if found:
            return

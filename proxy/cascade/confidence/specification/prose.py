"""Read examples in sentences and in bare lines: "Given [1, 2] return 3", "returns 4 for 2", "[1, 2] -> 3"."""

import itertools
import re
from collections.abc import Iterator

from proxy.cascade.confidence.specification.labelled import Pair
from proxy.cascade.confidence.specification.literals import Parser, arguments_at, value_at
from proxy.cascade.confidence.specification.outcomes import stated_at
from proxy.cascade.confidence.specification.records import Arguments

_INTRODUCED = re.compile(
    r"(?<!\w)(?:for|given|if|when|with|on|input|passed|für|bei|pour|si|para|per|se|для|если|当|对于|给定|输入|若|如果)\b"
    r"[ \t]{0,3}+(?:(?:example|instance|the|an?|input|inputs|list|array|string|number|value|values|is|of|was|are|passed"
    r"|called|given|with|zum Beispiel|Eingabe|die|der|l'entrée|la|el"
    r"|entrada|liste|lista|时|:|,)[ \t]{1,3}+){0,5}+[:`*]{0,3}+[ \t]{0,2}+"
    r"(?=[\"'\[({\d\-]|[A-Za-z_]\w{0,30}(?:\[\])?[ \t]{0,2}[=:][ \t]{0,2}[\"'\[({\d\-TF])",
    re.IGNORECASE,
)
_WORD = (
    r"(?:the|your|then|it|its|function|program|method|code|should|must|will|would|can|we|you|a|an|and|expected|correct|so"
    r"|call|sum|final|dann|die|das|der|Funktion|soll|sollte|la|le|el|fonction|función|doit|debe|debería|deve|funzione"
    r"|i|l|função|функция|должна|函数|应该?|则|时|就)"
)
_SAYING = (
    r"(?:outputs?|returns?|returned|results?|answer|gives?|yields?|produces?|get|is|are|be|becomes|value|equals?|prints?|to"
    r"|Ausgabe|Ergebnis|ist|sein|gibt|liefert|ergibt|sortie|résultat|est|être|renvoie|renvoyer|retourne|retourner|donne"
    r"|salida|resultado|es|ser|devuelve|devolver|retorna|retornar|risultato|è|restituisce|restituire|saída|é|retornar"
    r"|devolve|вернуть|возвращает|результат|返回|输出|结果|得到|是|为)"
)
_THEN = re.compile(
    rf"[`'\"*)\]]{{0,3}}+[ \t]{{0,3}}+[,;:]?\s{{0,3}}+"
    rf"(?P<said>(?:(?:{_WORD}|{_SAYING})(?![A-Za-zÀ-ÿ])[ \t,:]{{0,3}}+){{1,9}}+)[`*]{{0,3}}+[ \t]{{0,2}}+",
    re.IGNORECASE,
)
_SAID = re.compile(rf"(?<![A-Za-zÀ-ÿ]){_SAYING}(?![A-Za-zÀ-ÿ])", re.IGNORECASE)
_RETURNED = re.compile(
    r"(?<!\w)(?:returns?|return value(?: is)?|gives?|outputs?|yields?|answer is|result is|output is)[ \t:]{1,3}+[`*]{0,3}+"
    r"(?=[\"'\[({\d\-TFN])",
    re.IGNORECASE,
)
_FOR = re.compile(
    r"[`*]{0,3}+[ \t]{0,3}+,?[ \t]{0,3}+(?:for|when|given|if|on|with|from)\b[ \t]{1,3}+"
    r"(?:(?:the|an?|input|inputs|list|array|string|number|value|values|is|of|passed|called|given|with|it)[ \t]{1,3}+){0,5}+"
    r"[:`*]{0,3}+[ \t]{0,2}+",
    re.IGNORECASE,
)
_LINE = re.compile(
    r"^[ \t>]{0,12}+(?:[-*•][ \t]{1,4}+|\d{1,2}+[.)][ \t]{1,4}+)?"
    r"(?:(?:examples?|e\.g\.|for example|beispiele?|exemples?|ejemplos?|esempio|exemplo|пример|例如?|示例)"
    r"[ \t]{0,2}+\d{0,2}+[ \t]{0,2}+"
    r"[:.,]?[ \t]{0,3}+)?[`*]{0,3}+(?=[\"'\[({\d\-TFN]|[A-Za-z_]\w{0,30}(?:\[\])?[ \t]{0,2}=)",
    re.IGNORECASE | re.MULTILINE,
)
_ARROW = re.compile(r"[`*]{0,3}+[ \t]{0,8}+(?:={1,2}>|-{1,2}>|→|⇒|➞|⟶|⟹|➜|➔|↦)[ \t]{0,8}+[`*]{0,3}+")
_ENDS = re.compile(r"[`*.;,]{0,4}+[ \t\r]{0,20}+(?:$|\n)")
_MOST_PLACES = 40


def sentences(text: str, parser: Parser) -> Iterator[Pair]:
    """Yield the inputs and outcomes that sentences state together."""
    for match in itertools.islice(_INTRODUCED.finditer(text), _MOST_PLACES):
        found = arguments_at(text, match.end(), parser)
        then = _THEN.match(text, found[1]) if found else None
        wanted = stated_at(text, then.end(), parser) if then and _SAID.search(then["said"]) else None
        if found and wanted:
            yield found[0], (wanted[0],)
    for match in itertools.islice(_RETURNED.finditer(text), _MOST_PLACES):
        value = value_at(text, match.end(), parser)
        given = _FOR.match(text, value[1]) if value else None
        found = arguments_at(text, given.end(), parser) if given else None
        if value and found and _closed(text, found[1]):
            yield found[0], (value[0],)


def lines(text: str, parser: Parser) -> Iterator[Pair]:
    """Yield lines of nothing but inputs and an outcome, and lines of nothing but inputs."""
    for match in itertools.islice(_LINE.finditer(text), 2 * _MOST_PLACES):
        found = arguments_at(text, match.end(), parser)
        if found is None:
            continue
        arguments, end = found
        if arrow := _ARROW.match(text, end):
            wanted = stated_at(text, arrow.end(), parser)
            if wanted is not None:
                yield arguments, (wanted[0],)
        elif _ENDS.match(text, end):
            yield arguments, None


def joined(pairs: list[Pair]) -> list[Pair]:
    """Join assignments on lines of their own, `a = 1` and `b = 2`, to the arguments of one call."""
    if len(pairs) < 2 or any(wanted or len(a.named) != 1 for a, wanted in pairs):
        return pairs
    names = [a.named[0][0] for a, _ in pairs]
    if len(set(names)) < len(names):
        return pairs
    return [(Arguments((), tuple(a.named[0] for a, _ in pairs)), None)]


def _closed(text: str, end: int) -> bool:
    return text[end : end + 1] in ("", "\n", ".", ",", ";", ")", "`", "*", " ")

"""Read what a text says after a call or an input: `== 4`, `-> 4`, `should return 4`, `Output: 4`."""

import re
from typing import Any

from proxy.cascade.confidence.specification.literals import Parser, skip, value_at

OUTPUT = (
    r"(?:(?:expected|sample|correct)[ _]?)?(?:outputs?|results?|return(?:s|ed)?(?: values?)?|answer|expected)"
    r"|Ausgabe|Ergebnis|Rückgabe(?:wert)?|sortie|résultat|salida|resultado|saída|uscita|risultato|uitvoer|wyjście|ç\u0131kt\u0131"
    r"|вывод|выход(?:ные данные)?|результат|(?:期望|预期)?输出|輸出|返回值?|结果|出力|戻り値|출력|결과"
)
_VERB = (
    r"returns?|gives?|yields?|evaluates? to|equals?|outputs?|produces?|results? in|prints?|is equal to|is|be|becomes"
    r"|gibt|liefert|ergibt|ist|renvoie|retourne|donne|vaut|est|devuelve|retorna|regresa|da|es|imprime|devolve|restituisce"
    r"|ritorna|è|é|возвращает|вернёт|вернет|равно|равен|geeft|zwraca|returnează"
)
_SIGN = r"={2,3}>?|=>|-{1,2}>|→|⇒|➞|⟶|⟹|➜|➔|↦|⟼|:=|=|:|≡|▶|►"
_MAY = (
    r"(?:(?:it |the function |this |that )?(?:should|must|will|would|shall|can|needs to|ought to|has to|muss|soll|sollte"
    r"|doit|devrait|debe|debería|deve|dovrebbe|должна|должен)\s{1,3}+)?(?:be\s{1,3}+)?"
)
_FILLER = (
    r"(?:(?:the|a|an|value|result|list|string|number|tuple|integer|int|array|boolean|bool|set|dictionary|dict|den Wert"
    r"|die Liste|le|la|el|il|liste|lista|valeur|valor)\s{1,3}+){0,3}+"
)
_SAYS = re.compile(
    rf"[`'\"*_)\]]{{0,3}}+(?:\s{{0,20}}+[,;]?)"
    rf"(?:\n[ \t]{{0,20}}+(?=\#|//|-|=|→|⇒|➞|[Oo]utput|[Rr]eturns|[`]{{0,2}}[Ss]hould))?+"
    rf"[ \t]{{0,20}}+(?:\#|//)?[ \t]{{0,20}}+"
    rf"(?:{_MAY}(?:{_VERB})(?!\w)|{_SIGN}|应该?返回|返回|等于|输出|得到|结果为|应为|为|は|が|を返す)"
    rf"\s{{0,3}}+(?:{_MAY}(?:{_VERB}|{OUTPUT})(?!\w)\s{{0,3}}+)?+(?:{_SIGN})?+\s{{0,3}}+{_FILLER}[`*]{{0,3}}+",
    re.IGNORECASE,
)
_COMMENT = re.compile(rf"[ \t]{{1,20}}+(?:\#|//)[ \t]{{0,4}}+(?:{OUTPUT})?[ \t:=]{{0,4}}+", re.IGNORECASE)
_AFTER = re.compile(
    r"[`'\"*_)\]]{0,4}+[ \t]{0,20}+(?:$|[\n|,;!?、(#]|\.(?!\d)|//|--|—|:\s|</"
    r"|(?:because|zurück\w{0,5}|ausgeben|aus|sein|since|as|for|when|if|and|while|where|given|with"
    r"|weil|da|denn|und|für|wenn|porque|ya que|y|para|si|pues"
    r"|parce|car|et|pour|perché|e|per|потому|так как|и|для)\b|因为|因為|当)",
    re.IGNORECASE,
)
_SUM = re.compile(r"[-+*/%^().\d \t]{1,80}+=[ \t]{0,4}+")
_DISPUTED = re.compile(
    r"\b(?:instead|but (?:it )?(?:should|must|expected|i expect)|rather than|wrong|incorrect"
    r"|statt|sondern|au lieu|en vez|en lugar|вместо)\b|而不是|而非",
    re.IGNORECASE,
)
_BROKEN = re.compile(
    r"\b(?:currently|incorrectly|wrongly|mistakenly|actual(?:ly)?|instead of|bug|broken|why)\b",
    re.IGNORECASE,
)


def outcome_after(text: str, end: int, parser: Parser) -> tuple[Any] | None:
    """Return the outcome that a text states right after a call, in a tuple of one, or `None`."""
    line = text[max(0, end - 300) : end].rpartition("\n")[2]
    if _BROKEN.search(line):
        return None
    for match in (_SAYS.match(text, end), _COMMENT.match(text, end)):
        found = stated_at(text, match.end(), parser) if match else None
        if found is not None:
            return (found[0],)
    return None


def stated_at(text: str, start: int, parser: Parser) -> tuple[Any, int] | None:
    """Return the value that a text commits to at an offset, and the offset after it.

    It is `None` if more follows that could change the value: an operator, a noun, a correction.
    """
    start = skip(text, start)
    summed = _SUM.match(text, start) if text[start : start + 1].isdigit() else None
    found = value_at(text, summed.end() if summed else start, parser)
    if found is None:
        return None
    value, end = found
    if _AFTER.match(text, end) is None:
        return None
    line = text[end : end + 120].partition("\n")[0]
    return None if _DISPUTED.search(line) else (value, end)

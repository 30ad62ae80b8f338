"""Which kind of task a chat request is, told from the request alone."""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any

from proxy.cascade.types import Json, Task, TaskKind

_LETTERS = "ABCDEFGHIJ"
_END = 4000
_OPTION = re.compile(
    r"(?:^[ \t>*-]*\(?([A-J])[).:][ \t*]+\S)|(?:(?:(?<=\s)|(?<=[{*])|(?<=\n)|^)\(?([A-J])\)[ \t*}\\]+\S)",
    re.MULTILINE,
)

_CODE_SHOWN = re.compile(
    r"""^[ \t]*(?:async\s+)?def\s+\w+\s*\(.*$   # a signature
      | ^[ \t]*assert\s+\w+\s*\(                # a test
      | ^[ \t]*>>>\s
      | ^[ \t]*(?:public|private|static)\s+[\w<>\[\]]+\s+\w+
      | ^[ \t]*(?:function|func|fn)\s+\w+\s*\(
      | ^[ \t]*\#include\s*<
      | ```\s*(?:python|py|js|javascript|typescript|java|c|cpp|c\+\+|csharp|go|rust|sql|bash|sh|ruby|php)\b
    """,
    re.MULTILINE | re.VERBOSE | re.IGNORECASE,
)
_CODE_ASKED = re.compile(
    r"""\b(?:write|implement|create|develop|code|program|complete|finish|fix|debug|refactor|optimi[sz]e|build|make
            |generate|port|translate|rewrite|give|show|need|find\s+(?:any|the)\s+bugs?|identify\s+any\s+bugs?
            |schreibe?n?|implementiere?|programmiere?|erstelle?|entwickle|vervollständige
            |écri[st]|écrivez|implémente[rz]?|programme[rz]?|crée[rz]?|développe[rz]?|complète[rz]?
            |escrib[ea]|implementa|programa|crea|desarrolla|completa
            |scriv[ie]|crei|sviluppa|escrev[ae]|implemente|crie|desenvolva|programe
            |schrijf|implementeer|maak|programmeer|напиши(?:те)?|реализуй(?:те)?|создай(?:те)?)\b
        [^.?!\n]{0,60}?
        \b(?:function|method|class|program|script|code|algorithm|regex|regular\s+expression|sql|query|html|website
            |web\s?page|unit\s+tests?|decorator|python|javascript|typescript|java|c\+\+|rust|golang|bash|dockerfile
            |\w*funktion|methode|klasse|programm|skript|quelltext|fonction|méthode|classe|programme
            |función|método|clase|código
            |funzione|metodo|classe|programma|codice|função|programa|functie|klasse
            |функци[юя]|программу|класс|код|скрипт|метод)\b
      | (?:写|编写|实现|寫|編寫|實現)[^。？！\n]{0,40}(?:函数|函數|程序|程式|代码|代碼|脚本|类)
      | (?:関数|プログラム|コード|スクリプト|クラス)[^。？！\n]{0,20}(?:書い|実装|作成|作っ)
      | (?:함수|프로그램|코드|스크립트)[^.?!\n]{0,20}(?:작성|구현|만들)
    """,
    re.VERBOSE | re.IGNORECASE,
)

_NUMBER_WORD = (
    r"\d|\b(?:number\s+of|one|two|three|four|five|six|seven|eight|nine|ten|twelve|dozen|half"
    r"|twice|double|consecutive|numerically"
    r"|zwei|drei|vier|fünf|hälfte|doppelt|deux|trois|quatre|cinq|moitié|dos|tres|cuatro|cinco|mitad|doble)\b"
)
_QUANTITY_ASKED = re.compile(
    r"""\bhow\s+(?:many|much|old|long|far|fast|tall|often|big|large|high|heavy)\b
      | \bwhat(?:'s|\s+is|\s+was|\s+are|\s+will\s+be|\s+would\s+be)
        \s+(?:the|its|his|her|their)\s+(?:[\w-]+\s+){0,4}?
        (?:values?|sums?|products?|differences?|quotient|remainder|area|volume|perimeter|circumference|probability
        |averages?|mean|median|mode|ratio|total|cost|price|profit|number|amount|percentage|percent|distance|length
        |width|height|weights?|depth|speed|ages?|angle|slope|root|degree|coefficient|least|greatest|greater|smallest
        |smaller|largest|larger|maximum|minimum|salary|distance|\w+\s+(?:depth|weight|height|speed|age))\b
      | \bwhat\s+(?:percent(?:age)?|fraction|number|value|speed|price|amount|annual\s+salary)\b
      | \b(?:calculate|compute|simplify|solve|factor|work\s+out)\b
      | \b(?:determine|find|express|estimate|round|give|state)\s+(?:the|its|his|her|their|all|an?)\s+
        (?:[\w-]+\s+){0,3}?(?:values?|sums?|products?|area|volume|perimeter|probability|average|mean|median|ratio|total
        |numbers?
        |percentage|distance|length|angle|integers?|solutions?|roots?|remainder)\b
      | \bwie\s*viele?[nr]?\b | \bwie\s+(?:groß|hoch|lang|alt|weit|schwer)\b
      | \b(?:berechne|bestimme|löse|vereinfache|ermittle)n?\b
      | \bcombien\b | \b(?:calcule|détermine|résous|résoudre|simplifie|trouve)[rz]?\b
      | \bcuánt[oa]s?\b | \b(?:calcula|determina|resuelve|simplifica|halla|encuentra)r?\b
      | \bquel(?:le)?\s+est\s+(?:la|le)\s+(?:valeur|somme|aire|probabilité)
      | \bcuál\s+es\s+(?:el|la)\s+(?:valor|suma|área)
      | \bquant[oaie]s?\b | \b(?:calcola|risolvi|semplifica|trova\s+il|calcule|resolva|simplifique|encontre)\b
      | \bqual\s+(?:è|é)\s+(?:il|la|o|a)\s+(?:valore?|somma|soma|area|área|probabilità|probabilidade)
      | \bhoeveel\b | \b(?:bereken|vereenvoudig|los\s+op)\b | \bwat\s+is\s+de\s+(?:waarde|som|oppervlakte|kans)
      | \bсколько\b | \b(?:вычисли|найди|реши|упрости)(?:те)?\b | \b(?:ile|oblicz|rozwiąż)\b
      | 多少|几[个個人只本天]|幾[個人隻本天]|计算|計算|求出|いくつ|いくら|何[個人本円回]|何時間|求め|몇|얼마|계산
    """,
    re.VERBOSE | re.IGNORECASE,
)
_VALUE_OF_FORMULA = re.compile(
    r"\b(?:find|evaluate|determine|express|convert|enter|write|let|suppose|if|estimate|round|give|graph)\b",
    re.IGNORECASE,
)
_FORMULA = re.compile(
    r"""\\(?:frac|dfrac|sqrt|sum|int|prod|lim|cdot|times|le|ge|leq|geq|pi|theta|angle|triangle|left|begin|overline
        |log|sin|cos|tan|binom|boxed|mathbb|\[|\()(?![a-z])
      | \$[^$\n]{1,200}\$
      | [\dxyz)]\s*(?:[+*/^=<>\u00d7÷]|\u2212)\s*[\dxyz(|-]   # 3 + 4, x = 2z, 2^n
      | \d\s+-\s+\d | \b[fg]\(\w\)\s*=
    """,
    re.VERBOSE | re.DOTALL,
)
_BARE_ARITHMETIC = re.compile(
    r"(?:what(?:'s|\s+is)\s+)?[-+\d(][\d\s.,+\-*/^()\u00d7÷=]*[+\-*/^\u00d7÷][\d\s.,+\-*/^()\u00d7÷=]*\??",
    re.IGNORECASE,
)


def detect(body: Json) -> Task:
    """Return the request as a task of the kind that it looks like. Costs no model call."""
    text = text_of(body)
    return Task(_kind(body, text), body, text)


def with_kind(task: Task, kind: TaskKind) -> Task:
    """Return the same task as another kind, for a client that knows better."""
    return replace(task, kind=kind)


def text_of(body: Json) -> str:
    """Return the last user message as plain text; parts that are no text are left out."""
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list | tuple) else ()):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return _plain(message.get("content"))
    return ""


def options(text: str) -> tuple[str, ...]:
    """Return the letters of the options in a question: A, B, ... without a gap; fewer than two are none."""
    found = {a or b for a, b in _OPTION.findall(text)}
    letters = tuple(takewhile(found.__contains__, _LETTERS))
    return letters if len(letters) > 1 else ()


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    texts = [p.get("text") for p in parts if isinstance(p, Mapping) and p.get("type") == "text"]
    return "\n".join(t for t in texts if isinstance(t, str))


def _kind(body: Json, text: str) -> TaskKind:
    if _may_call(body):
        return TaskKind.AGENT
    if _format(body) in ("json_object", "json_schema"):
        return TaskKind.STRUCTURED
    text = _ends(text)
    if options(text):
        return TaskKind.CHOICE
    if _CODE_SHOWN.search(text) or _CODE_ASKED.search(text):
        return TaskKind.CODE
    return TaskKind.MATH if _asks_for_value(text) else TaskKind.OPEN


def _ends(text: str) -> str:
    """Return a long text's beginning and end, where the request is: what is pasted between costs no time."""
    return text if len(text) <= 2 * _END else f"{text[:_END]}\n{text[-_END:]}"


def _may_call(body: Json) -> bool:
    by_tools = body.get("tools") and body.get("tool_choice") != "none"
    by_functions = body.get("functions") and body.get("function_call") != "none"
    return bool(by_tools or by_functions)


def _format(body: Json) -> Any:
    wanted = body.get("response_format")
    return wanted.get("type") if isinstance(wanted, Mapping) else None


def _asks_for_value(text: str) -> bool:
    if len(text) < 200 and _BARE_ARITHMETIC.fullmatch(text.strip()):
        return True
    if _FORMULA.search(text) and (
        "?" in text or _QUANTITY_ASKED.search(text) or _VALUE_OF_FORMULA.search(text)
    ):
        return True
    return bool(_QUANTITY_ASKED.search(text) and re.search(_NUMBER_WORD, text, re.IGNORECASE))

"""Signs of a kind in the structure of a text: fences, signatures, schemas, formulas, numbers, questions."""

import re

_CODE_SHOWN = re.compile(
    r"""^[ \t]*(?:                 # one anchor for all: a pattern is tried at each character
        (?:async[ ]+)?def[ ]+\w+[ ]*\(
      | (?:class|struct|interface|enum|impl|namespace)[ ]+\w+[ \t]*(?:[(:{<]|$)
      | (?:(?:public|private|protected|static|export|async|pub|inline|override)[ ]+){1,4}[\w<>\[\],]{1,40}[ ]+\w+[ ]*[({=]?
      | (?:function|func|fn|fun|sub)[ ]+\w+[ ]*[({<]
      | (?:const|let|var|val)[ ]+\w+(?:[ ]*:[ ]*\w+)?[ ]*=
      | (?:import|from)[ ]+[\w.]+(?:[ ]+import\b|[ ]*;?[ ]*$)
      | assert[ ]+\w+[ ]*\( | >>>[ ]
      | \#include[ ]*[<"] | using[ ]+[\w.]+; | \#!/
      | (?:if|for|while)[ ]*\([^()\n]{1,80}\)[ ]*\{ | (?:for|while|if|elif)[ ][^\n]{1,80}:[ \t]*\n[ \t]+\w
      | (?:return|print|printf|console\.log|system\.out\.println|echo)\b[ (][^\n]{0,80}[;)][ \t]*$
      | at[ ][\w.$]+\([\w.]+:\d+\)
      )
    """,
    re.MULTILINE | re.VERBOSE,
)
_CODE_WITHIN = re.compile(
    r"""<(?:\?php|!doctype[ ]html|/(?:div|html|body|p|table|ul|script|span|form|button|template)>)
      | \.\w+\([^()\n]{0,60}\)[;.] | =>[ ]*[{(] | (?:error|exception):[ ] | traceback[ ]\(most[ ]recent
      | \[object[ ]object\] | undefined[ ]is[ ]not[ ]a | segmentation[ ]fault
    """,
    re.VERBOSE,
)
_FENCE = re.compile(r"^[ \t]{0,9}```[ \t]{0,9}([\w+#-]{0,20})[ \t]{0,9}$", re.MULTILINE)
_PROSE_FENCES = ("text", "txt", "markdown", "md", "plain", "plaintext", "latex", "tex", "quote", "csv")
_DDL = re.compile(
    r"\bcreate\s+(?:temp\w*\s+)?table\b|\balter\s+table\b|\bprimary\s+key\b|\bforeign\s+key\b|\binsert\s+into\s+\w+"
)
_QUERY = re.compile(
    r"""\A\s{0,20}(?:--[^\n]{0,200}\n\s{0,20})?(?:select|with)\b[^.?!]{0,200}?\bfrom\b\s+\w | \bselect\s{0,20}\Z
      | (?:\A|\n)[ \t]{0,20}--\s\S | \b(?:my)?sql(?:ite)?\s{0,9}:\s{0,9}(?:\Z|select)
    """,
    re.VERBOSE,
)
_DIALECT = re.compile(r"\b(?:(?:my|postgre|t-?)?sql(?:ite)?|postgres|bigquery|duckdb|snowflake)\b")
_QUERIES = re.compile(r"\b(?:quer(?:y|ies)|abfragen?|requêtes?|consultas?)\b|запрос|查询|クエリ|쿼리")
_WRITES_QUERIES = re.compile(
    r"\b(?:assistants?|experts?|generators?|bot|translators?|engines?|agent|turn|translate|convert|write|generate|produce|return|"
    r"output|schema|tables?|columns?|database)\b|таблиц|表|テーブル|테이블"
)
_TABLE_OF_COLUMNS = re.compile(
    r"""\b\w{2,40}\s?\((?:\s?[a-z_]\w*(?:\s\w+)?\s?,){1,30}\s?[a-z_]\w*(?:\s\w+)?\s?\)
      | \|\s\w+\s:\s\w+(?:\.\w+)?\s, | \bcolumns\s?=\s?\[
    """,
    re.VERBOSE,
)
_JSON = re.compile(r"\bjson\b")
_ONLY = re.compile(
    r"""\b(?:only|solely|just|strictly|valid|exclusively|nur|ausschließlich|uniquement|seulement|solo|únicamente|exclusivamente
        |alleen|tylko|yalnızca|strict)\b
      | \b(?:reply|respond|answer|return|output|produce|emit|antworte\w*|gib|réponds|répondez|renvoie\w*|responde|devuelve
        |rispondi|responda|отвечай|верни|format|schema|object)\b
      | только|只|仅|のみ|だけ|만\b|返回|輸出|输出|出力|فقط
    """,
    re.VERBOSE,
)
_FORMULA = re.compile(
    r"""\\(?:frac|dfrac|sqrt|sum|int|prod|lim|cdot|times|le|ge|leq|geq|pi|theta|angle|triangle|left|begin|overline
        |log|sin|cos|tan|binom|boxed|mathbb|\[|\()(?![a-z])
      | \$(?=\S)[^$\n]{1,200}(?<=\S)\$(?!\d)   # not "$5 or $6"
      | (?:[\d)]|(?<![a-z])[xyz])\s?[+*^=<>×÷\u2212]\s?(?:[\d(|-]|[xyz](?![a-z]))   # 3 + 4, x = 2z, 2^n
      | \d\s[-/]\s\d | \b[a-z]\(\w\)\s?=
    """,
    re.VERBOSE,
)
_BARE_ARITHMETIC = re.compile(
    r"(?:what(?:'s|\s+is)\s+)?[-+\d(](?=[\d\s.,()=]*+[+\-*/^\u00d7÷])[\d\s.,+\-*/^()\u00d7÷=]*+\??"
)
_NUMBER = re.compile(r"\d[\d.,]*")
_LANGUAGES = frozenset(
    """
    python python3 javascript typescript java c++ c# rust golang kotlin php ruby perl scala haskell bash sql mysql
    html html5 css node.js nodejs react vue angular django flask numpy pandas pytorch tensorflow tailwind jquery
    regex matlab swiftui svelte powershell dockerfile graphql mongodb laravel sklearn fortran assembly vba
    solidity lua питоне пайтоне питон パイソン 파이썬으로 파이썬 بايثون पायथन पाइथन
    """.split()  # noqa: SIM905  (one name a line would be a page)
)
_NAME = re.compile(r"[a-z][a-z0-9+#]*(?:\.js)?|[^\W\d_a-z]{3,}")
_ONE_LANGUAGE = "|".join(sorted((re.escape(name) for name in _LANGUAGES), key=len, reverse=True))
_IN_LANGUAGE = re.compile(
    rf"\A\W*(?:and |now |please )?(?:in|as|en|auf|na|на|using|with)\s+(?:{_ONE_LANGUAGE})(?!\w)[^\n]{{0,40}}\Z"
)
_ASKS = "?？؟"


def code_shown(text: str) -> bool:
    """Return True if a lower-case text shows code: a fence, a signature, a statement, an error of a program."""
    if _CODE_SHOWN.search(text) or _CODE_WITHIN.search(text):
        return True
    return any(name and name not in _PROSE_FENCES for name in _FENCE.findall(text))


def asks_for_query(system: str, text: str) -> bool:
    """Return True if the lower-case texts are about a database: a dialect with tables, DDL, or the beginning of a query."""
    if _DDL.search(text) or _QUERY.search(text):
        return True
    if _DIALECT.search(system) and _WRITES_QUERIES.search(system):
        return True
    near = f"{system}\n{text}"
    return bool((_DIALECT.search(near) or _QUERIES.search(near)) and _TABLE_OF_COLUMNS.search(near))


_ONLY_JSON = re.compile(
    r"""\b(?:only|solely|just|strictly|nothing[ ]but|nur|uniquement|seulement|solo|únicamente)\b[^.\n]{0,25}\bjson\b
      | \bjson\b[^.\n]{0,15}\b(?:only|alone|and[ ]nothing[ ]else|nothing[ ]else)\b | (?:只|仅)[^。\n]{0,8}json
    """,
    re.VERBOSE,
)


def only_json(text: str) -> bool:
    """Return True if a lower-case request wants JSON and nothing else."""
    return bool(_ONLY_JSON.search(text))


def demands_json(text: str) -> bool:
    """Return True if a lower-case instruction wants its answers as JSON."""
    return any(_ONLY.search(text[max(0, m.start() - 60) : m.end() + 40]) for m in _some(_JSON, text))


def continues_in_language(text: str) -> bool:
    """Return True for a follow-up such as "in Python please"."""
    return bool(_IN_LANGUAGE.search(text))


def bare_arithmetic(text: str) -> bool:
    """Return True if a lower-case text is one calculation, and nothing else."""
    return len(text) < 200 and bool(_BARE_ARITHMETIC.fullmatch(text.strip()))


def has_formula(text: str) -> bool:
    """Return True if a lower-case text has a formula."""
    return bool(_FORMULA.search(text))


def signs(text: str) -> list[str]:
    """Return the names of the signs in a lower-case text."""
    numbers = len(_NUMBER.findall(text))
    last = text.rstrip()[-1:]
    lines = text.count("\n")
    return [
        f"#numbers{min(numbers, 4)}",
        f"#length{min(len(text).bit_length(), 11)}",
        f"#lines{min(lines.bit_length(), 5)}",
        f"#last{'?' if last in _ASKS else 'a' if last.isalnum() else last}",
        *(["#asks"] if any(sign in text for sign in _ASKS) else []),
        *(["#formula"] if has_formula(text) else []),
        *(["#code"] if code_shown(text) else []),
        *(["#fence"] if "```" in text else []),
        *(["#language"] if not _LANGUAGES.isdisjoint(_NAME.findall(text)) else []),
        *(["#quote"] if '"' in text or "“" in text or "«" in text or "「" in text else []),
        *(["#blank"] if "__" in text or "（ ）" in text or "（）" in text or "( )" in text else []),
    ]


def _some(pattern: re.Pattern[str], text: str, count: int = 20) -> list[re.Match[str]]:
    found = []
    for match in pattern.finditer(text):
        found.append(match)
        if len(found) == count:
            break
    return found

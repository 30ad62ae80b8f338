"""Which kind of task a chat request is, told from the request alone."""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import dropwhile, takewhile
from typing import Any

from proxy.cascade.types import Json, Task, TaskKind

ALPHABETS = ("ABCDEFGHIJ", "АБВГДЕЖЗИК")
_END = 4000
_HALFWIDTH = {0xFF01 + i: 0x21 + i for i in range(94)}  # of each full-width form
_OPTION = re.compile(
    r"""^[ \t>*-]*\(?([A-Ja-jА-Ка-к])(?:[).:][ \t*]+\S|[).:、](?=[^\x00-\x7f]|\d)|\)(?=\w))
      | (?:(?<=\s)|(?<=[{*])|^)(?:\(([A-Ja-jА-Ка-к])\)|([A-JА-К])\))[ \t*}\\]+\S
    """,
    re.MULTILINE | re.VERBOSE,
)
_ASKS = re.compile(r"\?|؟|\w\s*\Z|\b(?:is|are|was|were|of|by|to|ist|sind|est|es|è|é)\s*:\s*\Z")
# Options at the end of a text finish a sentence that was left open, unless it says that they are for something else.
_OPTION_LINE = re.compile(r"[ \t>*-]*\(?([A-JА-К])[).、]|\s*\Z")
_LEFT_OPEN = re.compile(r"(?:[^\W_]|[\u0900-\u0963\u0e00-\u0e4e)\"”“$:…]|\.\.\.)\s*\Z")
_LISTED = re.compile(
    r"""\A\W*(?:rank|order|sort|arrange|prioriti[sz]e|compare|contrast|explain|discuss|describe|define|evaluate|analy[sz]e|rate|group
        |match|check|correct|fix|solve|answer|find|give|provide|tell|state|say|name|list|show|rewrite|convert|turn|make|translate|label
        |classif\w+|categori[sz]e|add|remove|use|put|write|draw|prove|consider|note|let|read|review|format|expand|simplify|determine
        |ordne|sortiere|vergleiche|erkläre|beschreibe|löse|beantworte|prüfe|gib|nenne|finde|bilde|schreibe|übersetze
        |class(?:e|ez|er)|compare[rz]?|explique[rz]?|décri(?:s|vez)|trie[rz]?|donne[rz]?|cite[rz]?|trouve[rz]?|corrige[rz]?|tradui\w+
        |ordena|compara|explica|describe|clasifica|responde|dame|da|di|nombra|encuentra|traduce|ordina|confronta|spiega|descrivi|dammi
        |trova|traduci|ordene|explique|descreva|classifique|responda|dê|encontre|traduza)\b
      | \b(?:following|below|these|those|here|each|all\s+of|both\s+of|my|our|us|i|we|please|true\s+or\s+false
        |agenda|lists?|notes|minutes|topics|sections|terms|sentences|words|items|tasks|questions|things|operations|values|equations
        |folgende[nrs]?|jede[nrs]?|diese|hier|meine?|unsere?|wir|ich|bitte|suivante?s?|chaque|voici|mes|nos|nous|je
        |siguientes?|cada|mis|nuestr[oa]s|favor|seguent[ei]|ecco|miei|nostri|seguintes?|meus|nossos)\b
      | 排序|排列|比较|解释|下列|下面|以下|並べ|比較|説明|次の|क्रम\sमें\sलगा|समझाइ|เรียงลำดับ|เปรียบเทียบ|อธิบาย
    """,
    re.VERBOSE,
)
_PICK = re.compile(
    r"""__|\b(?:choose|pick|select|which\s+(?:of|one)|(?:answer|antwort|réponse|respuesta|ответ)\s*:)
      | \bcorrect\s+(?:answer|option|choice|statement)|\b(?:wähle|choisi|elige|selecciona|scegli|escolh|kies\b|wybierz
        |seçin|выбер) | 答案|选择|選択|選べ|選び|正しいもの|고르|اختر|चुन
    """,
    re.VERBOSE,
)

_CODE_SHOWN = re.compile(
    r"""^[ \t]*(?:async\s+)?def\s+\w+\s*\(.*$   # a signature
      | ^[ \t]*assert\s+\w+\s*\(                # a test
      | ^[ \t]*>>>\s
      | ^[ \t]*(?:public|private|static)\s+[\w<>\[\]]+\s+\w+
      | ^[ \t]*(?:function|func|fn)\s+\w+\s*\(
      | ^[ \t]*\#include\s*<
      | ```\s*(?:python|py|js|javascript|typescript|java|c|cpp|c\+\+|csharp|go|rust|sql|bash|sh|ruby|php)\b
      | \A\s*(?:sql|python|javascript|java|bash|regex)\s*:
    """,
    re.MULTILINE | re.VERBOSE,
)
_LANGUAGE = (
    r"(?:python|javascript|typescript|java|c\+\+|c\#|c\b(?!\s+m[ai])|rust|golang|kotlin|php|ruby|sql|bash|html"
    r"|pandas|node\.?js|react|питоне?|пайтоне?|джаве|パイソン|파이썬|자바|بايثون|جافا|पा[यइ]थन|जावा)"
)
# A sentence ends at its topic too: what something is to be about is not what is to be made.
_SENTENCE_END = re.compile(r"[!?:;\n。।؟]|\.(?=\s)|\b(?:about|über|sobre)\b|关于")
# What a request wants made: verbs that stand before their object (make), after it (made) or without (edit), and objects.
_WORD = re.compile(
    rf"""
    (?=\A|\b\w|[^\x00-\x7f])(?:   # nothing starts within a word of ASCII: this saves most of the time
    (?P<edit>(?:\A\W{{0,3}}|\b(?:please|you|bitte|mir)\s)
        (?:translate|summari[sz]e|paraphrase|proofread|rephrase|improve|shorten|continue|reply|respond|plan|recommend|suggest|brainstorm
        |übersetze?n?|fasse|verbesser[en]|traduis|traduisez|résume[rz]?|corrige[rz]?|traduce|traduz|traduza|resum[ae]
        |traduci|riassumi|vertaal|vat|przetłumacz|streść|opowiedz|переведи|сократи|расскажи)\b
      | \b(?:should|soll|sollte)\s+(?:i|we|ich|wir|man)\b
      | 翻译|翻譯|总结|推荐|訳して|要約|おすすめ|번역|요약|추천|ترجم|لخص|अनुवाद|सारांश)
  | (?P<make>\A\W{{0,3}}(?:code|program|programme|programa)\b
      | \b(?:write|implement|create|develop|complete|finish|fix|debug|refactor|optimi[sz]e|build|make|generate|port
        |convert|rewrite|draft|compose|give|show|need|want|identify|find\s+(?:any|the)
        |schreibe?|implementiere?|programmiere?|erstelle?|entwickle|vervollständige|verfasse|gib|nenne
        |écri[st]|écrivez|rédige[rz]?|implémente[rz]?|programme[rz]|crée[rz]?|développe[rz]?|complète[rz]?|donnez?
        |escrib[ea]|implementa|crea|desarrolla|completa|dame|redacta|scriv[ie]|crei|sviluppa|dammi
        |escrev[ae]|implemente|crie|desenvolva|programe|schrijf|implementeer|maak|geef|napisz|stwórz|zaimplementuj
        |(?:напиши|реализуй|создай|придумай)(?:те)?)\b
      | 写|編寫|编写|寫|实现|實現|اكتب|أنشئ)
  | (?P<made>\b(?:schreiben|erstellen|programmieren|entwickeln|yaz|yazın|ver|oluştur|hazırla)\b
      | 書い|実装|作成|作っ|작성|구현|만들|써|लिख|बना)
  | (?P<how>\bhow\s+(?:(?:do|can|could|would)\s+(?:i|you|we)|to)\b | \bwie\s+\w+\s+(?:ich|man|wir)\b
      | \b(?:comment|cómo|como|come|hoe|jak|nasıl|как)\b | 如何|怎么|怎样|方法|어떻게|كيف|कैसे)
  | (?P<text>\b(?:e-?mails?|letter|essay|story|stories|poem|haiku|song|lyrics|recipe|outline|dialogue|blog|article
        |speech|itinerary|tips|ideas?|advice|summary|review|reasons|overview|report|resume|cv|headlines?|joke
        |workout|lesson|plan|mail|brief|geschichte|gedicht|rezept|aufsatz|rede|bewerbung|tipps|ideen
        |lettre|histoire|poème|recette|discours|idées|conseils|correo|carta|cuento|historia|poema|receta|consejos
        |lettera|storia|poesia|ricetta|consigli|receita|conto|verhaal|recept|(?<=napisz\s)list|opowiadanie|wiersz|bajkę
        |przepis|mektup|hikaye|şiir\w*|tarifi?|письмо|рассказ|сказку|стихотворение|рецепт|стих)\b
        (?!\s+(?:\w+(?:ion|ing|er|or)\s+)?(?:function|script|class|regex|api|parser)\b)   # an email parser
      | 邮件|郵件|故事|诗|詩|信|食谱|文章|作文|メール|手紙|物語|記事|レシピ|편지|이메일|이야기|시를|사직서|글을
      | قصة|قصيدة|رسالة|مقال|بريد|कहानी|कविता|पत्र|ईमेल|निबंध)
  | (?P<code>\b(?:(?:sub)?functions?|method|(?<!my\s)class|program|script(?!\s+for\s+an?\b)|code|algorithm|regex
        |regular\s+expression|query|website|web\s?page|unit\s+tests?|decorator|component|endpoint|snippet|parser|scraper|dockerfile|bugs?|api|sql|html
        |\w*funktion|methode|klasse|programm|\w*-?skript|quelltext|fonction|méthode|classe|programme|requête
        |función|método|clase|código|consulta|funzione|metodo|programma|codice|função|programa|functie
        |funkcję|skrypt|fonksiyon\w*|kodu?|функци[юя]|программу|класс|код|скрипт|метод|сортировку)\b
      | 函数|函數|程序|程式|代码|代碼|脚本|算法|関数|プログラム|コード|スクリプト|クラス|함수|프로그램|코드|스크립트
      | دالة|برنامج|كود|(?:फ\u093c?|\u095e)ंक्शन|प्रोग्राम|कोड)
  | (?P<language>\b(?:in|using|with|mit|en|avec|con|em|com|met|w|na|на|в)\s+{_LANGUAGE} | [用以]\s?{_LANGUAGE}
      | \b{_LANGUAGE}(?:[で으로']|\s?में|\s+ile\b) | ب?بايثون)
    )""",
    re.VERBOSE,
)

_NUMBER = re.compile(
    r"""\b(?:in|year|jahr|en|since|seit|em|nel|w|в)\s+[12]\d{3}\b   # a year is no quantity
      | (\d[\d.,]*(?!\d|st\b|nd\b|rd\b|th\b|年) | \bnumber\s+of\s+(?:ways|degrees)\b
        |\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|dozen|half|twice|double|triple|consecutive
        |numerically|zwei|drei|vier|fünf|hälfte|doppelt|deux|trois|quatre|cinq|moitié|dos|tres|cuatro|cinco|mitad|doble)\b
        |[两三四五六七八九十百])
    """,
    re.VERBOSE,
)
_WHAT = (
    r"\b(?:what|wat\s+is|wie\s+(?:hoch|lautet)|was\s+ist|quel(?:le)?\s+est|cuál\s+es|a\s+qué|qual\s+(?:è|é)|jak[ai]|какова?"
    r"|с\s+какой)\b[^.?!\n]{0,60}?\b"
)
# One number is enough to ask for these ...
_EXACT = re.compile(
    rf"""\b(?:calculate|compute|simplify|factor\s+\d+|work\s+out|solve\s+(?:for|the)|how\s+many
        |what\s+(?:percent(?:age)?|fraction|number|value|power)
        |berechne|bestimme|löse|vereinfache|ermittle|wie\s*viele[nr]?|calcule[rz]?|détermine|résou[sd]|simplifie
        |combien\s+d[e']|calcula|determina|resuelve|simplifica|halla|cuánt[oa]s|calcola|risolvi|semplifica|quant[aei]
        |resolva|simplifique|quant[oa]s|bereken|vereenvoudig|los\s+op|hoeveel(?!\s+kost)|oblicz|rozwiąż|ilu
        |ile(?!\s+kosz)|hesapla|kaç|(?:вычисли|найди|реши|упрости)(?:те)?)\b
      | \bwhat(?:'s|\s+is)\s+\d[\d.,]*\s?(?:[-+*/^×÷%]|of\b|plus\b|minus\b|times\b|divided\b)
      | 计算|計算|求出|求め|いくつ|何(?:[個人本円回枚日]|時間)|몇|계산 | احسب | ज्ञात|गणना|हल\s
      | (?:{_WHAT}|\b(?:determine|find|express|estimate|round|give|state)\b[^.?!\n]{{0,40}}?\b)
        (?:values?|sums?|products?|differences?|quotient|remainder|area|volume|perimeter|circumference|probability
        |averages?|mean|median|ratio|percentage|angle|slope|root|degrees?|coefficient|integers?|solutions?|numbers?
        |(?:greatest|least|smallest|largest)\s+(?:common|possible|positive|integer|prime|number|value)
        |fläche|umfang|summe|valeur|somme|aire|probabilité|valore?|suma|área|area|soma|waarde|som|pole|площадь|сумма)\b
    """,
    re.VERBOSE,
)
# ... but two for what may as well be a fact or an opinion.
_AMOUNT = re.compile(
    rf"""\b(?:how\s+(?:much|old|long|far|fast|tall|big|large|high|heavy)|wie\s*(?:viel|groß|hoch|lang|alt|weit|schwer|schnell)
        |combien|cuánt[oa]|quant[oa]|hoeveel|ile|сколько|ne\s+kadar)\b
      | 多少|几[个個人只本天]|幾[個人隻本天]|いくら|何\s?k?m|얼마|كم\s|कितन
      | \bwhat\s+will\b[^.?!\n]{{0,40}}?\bbe\b
      | {_WHAT}(?:total|cost|prices?|profit|amount|distance|length|width|height|weights?|depth|speed|ages?|salary
        |minimum|maximum|preis|geschwindigkeit|prix|vitesse|precio|velocidade?|prezzo|velocità|preço|prijs|snelheid
        |cena|prędkość|скоростью?|цена)\b
    """,
    re.VERBOSE,
)
_OF_FORMULA = re.compile(
    r"\?|\b(?:find|evaluate|determine|express|convert|enter|write|factor|let|suppose|if|estimate|round|give|graph|solve)\b"
)
_FORMULA = re.compile(
    r"""\\(?:frac|dfrac|sqrt|sum|int|prod|lim|cdot|times|le|ge|leq|geq|pi|theta|angle|triangle|left|begin|overline
        |log|sin|cos|tan|binom|boxed|mathbb|\[|\()(?![a-z])
      | \$(?=\S)[^$\n]{1,200}(?<=\S)\$(?!\d)   # not "$5 or $6"
      | (?:[\d)]|(?<![a-z])[xyz])\s*[+*^=<>×÷\u2212]\s*(?:[\d(|-]|[xyz](?![a-z]))   # 3 + 4, x = 2z, 2^n
      | \d\s+[-/]\s+\d | \b[a-z]\(\w\)\s*=
    """,
    re.VERBOSE,
)
_BARE_ARITHMETIC = re.compile(
    r"(?:what(?:'s|\s+is)\s+)?[-+\d(](?=[\d\s.,()=]*+[+\-*/^\u00d7÷])[\d\s.,+\-*/^()\u00d7÷=]*+\??"
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
    found = {letter.upper() for match in _OPTION.findall(_folded(text)) for letter in match}
    listed = (tuple(takewhile(found.__contains__, alphabet)) for alphabet in ALPHABETS)
    return next((letters for letters in listed if len(letters) > 1), ())


def halfwidth(text: str) -> str:
    """Return a text with its full-width forms as plain ones, in the same places."""
    return text if text.isascii() else text.translate(_HALFWIDTH)


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
    text = _folded(text)
    words, wanted = text.lower(), _wanted(text.lower())
    if options(text) and _to_choose(text, wanted):
        return TaskKind.CHOICE
    if wanted == "code" or _CODE_SHOWN.search(words):
        return TaskKind.CODE
    return TaskKind.MATH if not wanted and _asks_for_value(words) else TaskKind.OPEN


def _folded(text: str) -> str:
    """Return a long text's beginning and end, where the request is, with full-width forms made plain."""
    text = text if len(text) <= 2 * _END else f"{text[:_END]}\n{text[-_END:]}"
    return halfwidth(text)


def _wanted(words: str) -> str:
    """Return what the first sentence that wants something made wants: "text", "code", or nothing at all."""
    wanted = (_object([m.lastgroup for m in _WORD.finditer(part)]) for part in _SENTENCE_END.split(words))
    return next(filter(None, wanted), "")


def _object(words: list[str | None]) -> str:
    """Return the object of a sentence's verb: the first thing that follows it, or the last that it follows."""
    follows = dropwhile(lambda word: word not in ("make", "edit"), words)
    precedes = words[: words.index("made")] if "made" in words else []
    things = [word for word in (*follows, *reversed(precedes)) if word in ("text", "code")]
    if things:
        return things[0] or ""
    if "edit" in words:
        return "text"
    return "code" if "language" in words and {"make", "made", "how"} & set(words) else ""


def _may_call(body: Json) -> bool:
    by_tools = body.get("tools") and body.get("tool_choice") != "none"
    by_functions = body.get("functions") and body.get("function_call") != "none"
    return bool(by_tools or by_functions)


def _format(body: Json) -> Any:
    wanted = body.get("response_format")
    return wanted.get("type") if isinstance(wanted, Mapping) else None


def _to_choose(text: str, wanted: str) -> bool:
    """Is there a question before the options, or a word of choosing, or a sentence for them to finish?

    Outlines and dialogues have neither.
    """
    if _PICK.search(text.lower()):
        return True
    if wanted == "text":
        return False
    stem = text[: next(_OPTION.finditer(text)).start()]
    return bool(_ASKS.search(stem)) or (not wanted and _to_finish(text))


def _to_finish(text: str) -> bool:
    """Do the options at the end finish the sentence before them, or give the values that it asks for?"""
    lines = text.rstrip().split("\n")
    closing = [match[1] or "" for match in takewhile(bool, map(_OPTION_LINE.match, reversed(lines))) if match]
    letters = "".join(reversed(closing))
    stem = "\n".join(lines[: len(lines) - len(closing)]).rstrip()
    if len(letters) < 3 or not letters.startswith(tuple(alphabet[: len(letters)] for alphabet in ALPHABETS)):
        return False
    last = re.split(r"[.?!。।]\s", stem.lower())[-1]
    if _LISTED.search(last):
        return False
    whole = not last.isascii() or len(last.split()) > 4  # not "French, please:"
    return bool(whole and _LEFT_OPEN.search(stem)) or (not stem.endswith(":") and _asks_for_value(last))


def _asks_for_value(words: str) -> bool:
    if len(words) < 200 and _BARE_ARITHMETIC.fullmatch(words.strip()):
        return True
    exact = _EXACT.search(words)
    if _FORMULA.search(words) and (exact or _AMOUNT.search(words) or _OF_FORMULA.search(words)):
        return True
    numbers = sum(map(bool, _NUMBER.findall(words)))
    return bool((exact and numbers) or (numbers > 1 and _AMOUNT.search(words)))

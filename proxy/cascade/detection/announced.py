"""Sentences that announce a list to work on, and not the options of a question."""

import re

_VERBS = "|".join(
    r"""
    rank order sort arrange prioriti[sz]e compare contrast explain discuss describe define evaluate analy[sz]e
    rate group correct fix answer give provide tell state say name list show rewrite convert turn make translate
    label classif\w+ categori[sz]e add remove use put write draw consider let read review format ordne sortiere
    vergleiche erkläre beschreibe beantworte prüfe gib nenne bilde schreibe übersetze class(?:e|ez|er)
    compare[rz]? explique[rz]? décri(?:s|vez) trie[rz]? donne[rz]? cite[rz]? corrige[rz]? tradui\w+ ordena compara
    explica describe clasifica responde dame da di nombra traduce ordina confronta spiega descrivi dammi traduci
    ordene explique descreva classifique responda dê traduza
    """.split()  # noqa: SIM905  (one word a line would be a page)
)
_WORDS = "|".join(
    r"""
    following below these those here each all\s+of both\s+of my our us i we please true\s+or\s+false agenda lists?
    notes minutes topics sections terms sentences words items tasks questions things operations values equations
    folgende[nrs]? jede[nrs]? diese hier meine? unsere? wir ich bitte suivante?s? chaque voici mes nos nous je
    siguientes? cada mis nuestr[oa]s favor seguent[ei] ecco miei nostri seguintes? meus nossos
    """.split()  # noqa: SIM905  (one word a line would be a page)
)
_SIGNS = "|".join(
    r"""
    排序 排列 比较 解释 下列 下面 以下 並べ 比較 説明 次の क्रम\sमें\sलगा समझाइ เรียงลำดับ เปรียบเทียบ อธิบาย
    """.split()  # noqa: SIM905  (one word a line would be a page)
)

_ANNOUNCES = re.compile(rf"\A\W*(?:{_VERBS})\b|{_SIGNS}")
_NAMES_LIST = re.compile(rf"\b(?:{_WORDS})\b")
_PICKS = re.compile(
    r"__|\b(?:except|choose|pick|select|true|false|correct|incorrect|answers?|antwort|réponse|respuesta|ответ)\b|which\s+(?:of|one)"
    r"|正确|错误|不正确|答案|选择|選択|正しい|（|\("
)
_SENTENCE = re.compile(r"[.!。।]\s|\n\n")


def announces_list(stem: str, count: int) -> bool:
    """Return True if the last sentence before a list, in lower case, says what else to do with the list than to choose.

    Two items that no question precedes are no options.
    """
    last = _SENTENCE.split(stem.rstrip()[-300:])[-1].strip()
    if last.endswith(("?", "？", "؟")) or _PICKS.search(last):
        return False
    if count < 3 and last.endswith(":"):
        return True
    ended = last.endswith((":", ".", "：", "。"))  # else the options finish the sentence
    return bool(_ANNOUNCES.search(last) or (ended and _NAMES_LIST.search(last)))

"""Answers that give none: refusals, doubts, questions back, and texts that repeat themselves."""

import re
from collections import Counter

from proxy.cascade.confidence.result_words import Words, alternatives

_READ = 8000  # characters at each end
_LOOP_TOKENS = 24  # a text with fewer words may repeat them
_LOOP_SHARE = 0.6

_REFUSALS: Words = {
    "en": r"""i\s(?:can(?:not|'?t)|could\s?n[o']t|am\s(?:not\sable|unable)|won'?t|do(?:n'?t|\snot)\s(?:know|have|understand))
        i'm\s(?:not\sable|unable|sorry|afraid) i\sam\s(?:sorry|afraid) as\san\sai unable\sto
        can(?:not|'?t)\sbe\sdetermined not\senough\sinformation insufficient\s(?:information|data)""",
    "de": r"""ich\skann\s[^.\n]{0,40}nicht ich\sweiß\s[^.\n]{0,20}nicht tut\smir\sleid leider\skann\sich""",
    "fr": r"""je\sne\s(?:peux|sais|suis) désolée?""",
    "es": r"""no\s(?:lo\s)?(?:puedo|sé|tengo|es\sposible) lo\ssiento""",
    "it": r"""non\s(?:posso|so|sono\sin\sgrado) mi\sdispiace""",
    "pt": r"""não\s(?:posso|sei|consigo) desculpe lamento""",
    "nl": r"""ik\s(?:kan|weet)\s[^.\n]{0,20}niet het\sspijt""",
    "pl": r"""nie\s(?:mogę|wiem|potrafię) przepraszam""",
    "ru": r"""я\sне\s(?:могу|знаю|уверен\w?) к\sсожалению извините""",
    "tr": r"""bilmiyorum yapamam üzgünüm""",
    "sw": r"""siwezi sijui samahani""",
}
_REFUSAL_SIGNS: Words = {
    "zh": r"我(?:不能|无法|不会|不知道|不确定) 抱歉 对不起 无法(?:计算|确定|回答)",
    "ja": r"できません わかりません 分かりません 申し訳 すみません",
    "ko": r"할\s수\s없 모르겠 죄송",
    "th": r"ไม่สามารถ ไม่ทราบ ขออภัย ไม่แน่ใจ",
    "ar": r"لا\s(?:أستطيع|أعرف|يمكنني) آسف عذرا",
    "hi": r"नहीं\s(?:कर\sसकता|पता) क्षमा माफ़",
    "bn": r"পারছি\sনা জানি\sনা দুঃখিত",
    "te": r"తెలియదు క్షమించ చేయలేను",
}
_UNSURE: Words = {
    "en": r"""(?:not|\w{1,8}n't)\s(?:\w{1,10}\s)?(?:sure|certain) unsure uncertain no\sidea hard\sto\s(?:say|tell)
        (?:a|my|best|i)\sguess""",
    "de": r"nicht\s(?:ganz\s)?sicher unsicher keine\sahnung ich\srate",
    "fr": r"pas\s(?:s[uû]re?|certaine?) aucune\sidée",
    "es": r"no\sestoy\ssegur[oa] ni\sidea",
    "ru": r"не\sуверен\w?",
}
_HEDGES: Words = {
    "en": r"maybe perhaps possibly (?:might|could|may)\s(?:also\s)?be probably presumably either",
    "de": r"vielleicht möglicherweise könnte wohl entweder",
    "fr": r"peut-être probablement pourrait",
    "es": r"quizás? tal\svez podría probablemente",
    "it": r"forse potrebbe",
    "pt": r"talvez poderia",
    "ru": r"возможно наверное может\sбыть вероятно",
    "pl": r"może chyba",
    "sw": r"labda",
}
_HEDGE_SIGNS: Words = {
    "zh": r"也许 可能 或许",
    "ja": r"かもしれ たぶん おそらく",
    "ko": r"아마",
    "th": r"อาจ",
    "bn": r"হয়তো",
}

_REFUSED = re.compile(
    rf"(?<!\w)(?:{alternatives(_REFUSALS)})(?!\w)|{alternatives(_REFUSAL_SIGNS)}", re.IGNORECASE
)
_DOUBTED = re.compile(rf"(?<!\w)(?:{alternatives(_UNSURE)})(?!\w)", re.IGNORECASE)
_HEDGED = re.compile(rf"(?<!\w)(?:{alternatives(_HEDGES)})(?!\w)|{alternatives(_HEDGE_SIGNS)}", re.IGNORECASE)
_QUESTION_END = re.compile(r"[?？؟][\s*_\"')\]”’]*\Z")


def declines(text: str) -> bool:
    """Return True if a text refuses an answer, doubts its own, or ends with a question."""
    return bool(refuses(text) or _QUESTION_END.search(text[-40:]))


def refuses(text: str) -> bool:
    """Return True if the writer of a text says that no answer can be given, or doubts the one that is given."""
    ends = _ends(text).replace("\u2019", "'")
    return bool(_REFUSED.search(ends) or _DOUBTED.search(ends))


def hedged(sentence: str) -> bool:
    """Return True if a sentence offers a possibility, not a result."""
    return bool(_HEDGED.search(sentence))


def degenerate(text: str) -> bool:
    """Return True if a text says nothing: it has no letter or digit, or a few words are repeated without end."""
    text = _ends(text)
    words = re.findall(r"\w+", text)
    if not words:
        return True
    if len(words) == 1:  # scripts without spaces, and a letter that is repeated
        return len(text) > _LOOP_TOKENS and len(set(text)) <= 4
    if len(words) < _LOOP_TOKENS:
        return False
    runs = Counter(zip(words, words[1:], words[2:], strict=False))
    return runs.most_common(1)[0][1] * 3 > _LOOP_SHARE * len(words) or len(set(words)) * 12 < len(words)


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _READ else f"{text[:_READ]}\n{text[-_READ:]}"

r"""The words by which a text states a result, by language.

Each word is a part of a regular expression. A blank separates two words. Inside a word, `\s` stands for a blank. To add
a language, add its line to each table. Scripts without spaces between words stand in the tables of signs.
"""

from collections.abc import Mapping

Words = Mapping[str, str]


def alternatives(words: Words) -> str:
    """Return the words of all languages as alternatives of a regular expression, the longest first."""
    found = {word for text in words.values() for word in text.split()}
    return "|".join(sorted(found, key=lambda word: (-len(word), word)))


RESULT: Words = {
    "en": r"answers? (?<!as\sa\s)results? solution",
    "de": r"antwort (?<!als\s)(?:end)?ergebnis lösung",
    "fr": r"réponse résultat solution",
    "es": r"respuesta resultado solución",
    "it": r"risposta risultato soluzione",
    "pt": r"resposta resultado solução",
    "nl": r"antwoord uitkomst resultaat",
    "ru": r"ответ(?:ом)? результат(?:ом)? решение(?:м)?",
    "uk": r"відповідь результат",
    "pl": r"odpowiedź odpowiedzią wynik(?:iem)?",
    "cs": r"odpověď výsledek",
    "tr": r"cevap cevabı yanıt sonuç",
    "sv": r"svar(?:et)? resultat(?:et)?",
    "fi": r"vastaus",
    "hu": r"válasz eredmény",
    "ro": r"răspuns(?:ul)? rezultat(?:ul)?",
    "el": r"απάντηση αποτέλεσμα",
    "id": r"jawaban(?:nya)? hasil(?:nya)?",
    "vi": r"đáp\s(?:án|số) kết\squả câu\strả\slời",
    "sw": r"jibu jawabu matokeo",
}
RESULT_SIGNS: Words = {
    "zh": r"答案 结果 結果 得数 (?<![回解作])答(?=[：:])",
    "ja": r"答え 解答 正解 (?<![回解])答(?=[はが])",
    "ko": r"정답 답(?=[은:：]) 결과",
    "th": r"คำตอบ ผลลัพธ์",
    "ar": r"الإجابة الجواب النتيجة الناتج",
    "fa": r"پاسخ جواب",
    "he": r"תשובה תוצאה",
    "hi": r"उत्तर जवाब परिणाम",
    "bn": r"উত্তর ফলাফল",
    "te": r"సమాధానం జవాబు ఫలితం",
}
SAYS: Words = {
    "en": r"is are equals would\sbe will\sbe becomes",
    "de": r"ist sind lautet beträgt",
    "fr": r"est sont vaut",
    "es": r"es son",
    "it": r"è sono",
    "pt": r"é são",
    "nl": r"bedraagt",
    "ru": r"равен равна равно равняется будет составляет",
    "uk": r"дорівнює",
    "pl": r"to\sjest wynosi",
    "sv": r"är",
    "ro": r"este",
    "el": r"είναι",
    "id": r"adalah",
    "vi": r"là",
    "sw": r"ni",
}
SAYS_SIGNS: Words = {
    "zh": r"是 为 為 等于",
    "ja": r"は が",
    "ko": r"[은는](?=\s)",
    "th": r"คือ เท่ากับ",
    "ar": r"(?:هو|هي)(?=\s) يساوي",
    "hi": r"है(?=[\s:]) =",
    "bn": r"(?:হলো|হল|হয়|হবে)(?=\s)",
}
TOTAL: Words = {
    "en": r"total sum altogether difference product profit average",
    "de": r"insgesamt summe gesamt\w{0,12} zusammen",
    "fr": r"somme",
    "es": r"suma",
    "it": r"totale somma",
    "pt": r"soma",
    "nl": r"totaal",
    "ru": r"итого всего сумма общее",
    "pl": r"razem łącznie suma",
    "tr": r"toplam",
    "sw": r"jumla",
}
TOTAL_SIGNS: Words = {
    "zh": r"总共 一共 总计 共有",
    "ja": r"合計 全部で",
    "ko": r"모두 총",
    "th": r"ทั้งหมด รวม",
    "hi": r"कुल",
    "bn": r"মোট",
    "te": r"మొత్తం",
}
NEARLY: Words = {
    "en": r"approximately about exactly therefore thus simply just only equal\sto indeed then now hence clearly roughly",
    "de": r"etwa genau also somit daher ungefähr gleich",
    "fr": r"environ donc exactement égale?\sà de",
    "es": r"aproximadamente exactamente igual\sa de entonces",
    "ru": r"примерно ровно",
    "sw": r"takriban",
}
NEARLY_SIGNS: Words = {"zh": r"约 大约", "ja": r"約", "th": r"ประมาณ"}
BECAUSE: Words = {
    "en": r"because since as for",
    "de": r"weil da denn",
    "fr": r"car parce",
    "es": r"porque ya\sque",
    "ru": r"потому так\sкак",
}
NOT: Words = {
    "en": r"not n't never no isn't cannot wrong incorrect",
    "de": r"nicht kein\w{0,2} falsch",
    "fr": r"pas faux",
    "es": r"no incorrect[oa]",
    "ru": r"не неверно",
    "pt": r"não",
    "it": r"non",
    "pl": r"nie",
    "sw": r"si sio",
}
NOT_SIGNS: Words = {
    "zh": r"不 没",
    "ja": r"ない ません",
    "th": r"ไม่",
    "ko": r"아니",
    "hi": r"नहीं",
    "bn": r"নয়",
}

r"""The words by which `tasks` detects the kind of a task, by language.

Each word is a part of a regular expression in verbose mode, in lower case. A blank separates two words. Inside a word, `\s`
stands for a blank. To add a language, add its line to each table.
"""

from collections.abc import Mapping

Words = Mapping[str, str]


def alternatives(words: Words) -> str:
    """Return the words of all languages as alternatives of a regular expression."""
    return "|".join(word for text in words.values() for word in text.split())


# Multiple choice: words around the options.
SENTENCE_LEFT_OPEN: Words = {
    "en": r"is are was were of by to",
    "de": r"ist sind",
    "fr": r"est",
    "es": r"es",
    "it": r"è",
    "pt": r"é",
}
LIST_VERBS: Words = {
    "en": r"""rank order sort arrange prioriti[sz]e compare contrast explain discuss describe define evaluate analy[sz]e rate
        group match check correct fix solve answer find give provide tell state say name list show rewrite convert turn make
        translate label classif\w+ categori[sz]e add remove use put write draw prove consider note let read review format
        expand simplify determine""",
    "de": r"""ordne sortiere vergleiche erkläre beschreibe löse beantworte prüfe gib nenne finde bilde schreibe übersetze""",
    "fr": r"""class(?:e|ez|er) compare[rz]? explique[rz]? décri(?:s|vez) trie[rz]? donne[rz]? cite[rz]? trouve[rz]?
        corrige[rz]? tradui\w+""",
    "es": r"""ordena compara explica describe clasifica responde dame da di nombra encuentra traduce""",
    "it": r"""ordina confronta spiega descrivi dammi trova traduci""",
    "pt": r"""ordene explique descreva classifique responda dê encontre traduza""",
}
LIST_WORDS: Words = {
    "en": r"""following below these those here each all\s+of both\s+of my our us i we please true\s+or\s+false agenda lists?
        notes minutes topics sections terms sentences words items tasks questions things operations values equations""",
    "de": r"""folgende[nrs]? jede[nrs]? diese hier meine? unsere? wir ich bitte""",
    "fr": r"""suivante?s? chaque voici mes nos nous je""",
    "es": r"""siguientes? cada mis nuestr[oa]s favor""",
    "it": r"""seguent[ei] ecco miei nostri""",
    "pt": r"""seguintes? meus nossos""",
}
LIST_SIGNS: Words = {
    "zh": r"排序 排列 比较 解释 下列 下面 以下",
    "ja": r"並べ 比較 説明 次の",
    "hi": r"क्रम\sमें\sलगा समझाइ",
    "th": r"เรียงลำดับ เปรียบเทียบ อธิบาย",
}
PICK_VERBS: Words = {
    "en": r"choose pick select which\s+(?:of|one)",
    "all": r"(?:answer|antwort|réponse|respuesta|ответ)\s*:",
}
PICK_STEMS: Words = {
    "de": r"wähle",
    "fr": r"choisi",
    "es": r"elige selecciona",
    "it": r"scegli",
    "pt": r"escolh",
    "nl": r"kies\b",
    "pl": r"wybierz",
    "tr": r"seçin",
    "ru": r"выбер",
}
PICK_SIGNS: Words = {
    "zh": r"答案 选择",
    "ja": r"選択 選べ 選び 正しいもの",
    "ko": r"고르",
    "ar": r"اختر",
    "hi": r"चुन",
}

# The thing that a request wants made.
TOPIC: Words = {"en": r"about", "de": r"über", "es": r"sobre"}
LANGUAGES: Words = {
    "en": r"""python javascript typescript java c\+\+ c\# c\b(?!\s+m[ai]) rust golang kotlin php ruby sql bash html pandas
        node\.?js react""",
    "ru": r"питоне? пайтоне? джаве",
    "ja": r"パイソン",
    "ko": r"파이썬 자바",
    "ar": r"بايثون جافا",
    "hi": r"पा[यइ]थन जावा",
}
EDIT_VERBS: Words = {
    "en": r"""translate summari[sz]e paraphrase proofread rephrase improve shorten continue reply respond plan recommend
        suggest brainstorm""",
    "de": r"übersetze?n? fasse verbesser[en]",
    "fr": r"traduis traduisez résume[rz]? corrige[rz]?",
    "es": r"traduce traduz traduza resum[ae]",
    "it": r"traduci riassumi",
    "nl": r"vertaal vat",
    "pl": r"przetłumacz streść opowiedz",
    "ru": r"переведи сократи расскажи",
}
EDIT_SIGNS: Words = {
    "zh": r"翻译 翻譯 总结 推荐",
    "ja": r"訳して 要約 おすすめ",
    "ko": r"번역 요약 추천",
    "ar": r"ترجم لخص",
    "hi": r"अनुवाद सारांश",
}
MAKE_VERBS: Words = {
    "en": r"""write implement create develop complete finish fix debug refactor optimi[sz]e build make generate port convert
        rewrite draft compose give show need want identify find\s+(?:any|the)""",
    "de": r"""schreibe? implementiere? programmiere? erstelle? entwickle vervollständige verfasse gib nenne""",
    "fr": r"""écri[st] écrivez rédige[rz]? implémente[rz]? programme[rz] crée[rz]? développe[rz]? complète[rz]? donnez?""",
    "es": r"escrib[ea] implementa crea desarrolla completa dame redacta",
    "it": r"scriv[ie] crei sviluppa dammi",
    "pt": r"escrev[ae] implemente crie desenvolva programe",
    "nl": r"schrijf implementeer maak geef",
    "pl": r"napisz stwórz zaimplementuj",
    "ru": r"(?:напиши|реализуй|создай|придумай)(?:те)?",
}
MAKE_SIGNS: Words = {"zh": r"写 編寫 编写 寫 实现 實現", "ar": r"اكتب أنشئ"}
MADE_VERBS: Words = {
    "de": r"schreiben erstellen programmieren entwickeln",
    "tr": r"yaz yazın ver oluştur hazırla",
}
MADE_SIGNS: Words = {"ja": r"書い 実装 作成 作っ", "ko": r"작성 구현 만들 써", "hi": r"लिख बना"}
HOW: Words = {
    "fr": r"comment",
    "es": r"cómo",
    "pt": r"como",
    "it": r"come",
    "nl": r"hoe",
    "pl": r"jak",
    "tr": r"nasıl",
    "ru": r"как",
}
HOW_SIGNS: Words = {"zh": r"如何 怎么 怎样", "ja": r"方法", "ko": r"어떻게", "ar": r"كيف", "hi": r"कैसे"}
TEXT_NOUNS: Words = {
    "en": r"""e-?mails? letter essay story stories poem haiku song lyrics recipe outline dialogue blog article speech
        itinerary tips ideas? advice summary review reasons overview report resume cv headlines? joke workout lesson plan
        mail""",
    "de": r"brief geschichte gedicht rezept aufsatz rede bewerbung tipps ideen",
    "fr": r"lettre histoire poème recette discours idées conseils",
    "es": r"correo carta cuento historia poema receta consejos",
    "it": r"lettera storia poesia ricetta consigli",
    "pt": r"receita conto",
    "nl": r"verhaal recept",
    "pl": r"(?<=napisz\s)list opowiadanie wiersz bajkę przepis",
    "tr": r"mektup hikaye şiir\w* tarifi?",
    "ru": r"письмо рассказ сказку стихотворение рецепт стих",
}
TEXT_SIGNS: Words = {
    "zh": r"邮件 郵件 故事 诗 詩 信 食谱 文章",
    "ja": r"作文 メール 手紙 物語 記事 レシピ",
    "ko": r"편지 이메일 이야기 시를 사직서 글을",
    "ar": r"قصة قصيدة رسالة مقال بريد",
    "hi": r"कहानी कविता पत्र ईमेल निबंध",
}
CODE_NOUNS: Words = {
    "en": r"""(?:sub)?functions? method (?<!my\s)class program script(?!\s+for\s+an?\b) code algorithm regex
        regular\s+expression query website web\s?page unit\s+tests? decorator component endpoint snippet parser scraper
        dockerfile bugs? api sql html""",
    "de": r"\w*funktion methode klasse programm \w*-?skript quelltext",
    "fr": r"fonction méthode classe programme requête",
    "es": r"función método clase código consulta",
    "it": r"funzione metodo programma codice",
    "pt": r"função programa",
    "nl": r"functie",
    "pl": r"funkcję skrypt",
    "tr": r"fonksiyon\w* kodu?",
    "ru": r"функци[юя] программу класс код скрипт метод сортировку",
}
CODE_SIGNS: Words = {
    "zh": r"函数 函數 程序 程式 代码 代碼 脚本 算法",
    "ja": r"関数 プログラム コード スクリプト クラス",
    "ko": r"함수 프로그램 코드 스크립트",
    "ar": r"دالة برنامج كود",
    "hi": r"(?:फ\u093c?|\u095e)ंक्शन प्रोग्राम कोड",
}
IN: Words = {
    "en": r"in using with",
    "de": r"mit",
    "fr": r"en avec",
    "es": r"con",
    "pt": r"em com",
    "nl": r"met",
    "pl": r"w na",
    "ru": r"на в",
}

# Questions for a value.
NUMBER_WORDS: Words = {
    "en": r"""one two three four five six seven eight nine ten twelve dozen half twice double triple consecutive
        numerically""",
    "de": r"zwei drei vier fünf hälfte doppelt",
    "fr": r"deux trois quatre cinq moitié",
    "es": r"dos tres cuatro cinco mitad doble",
}
YEAR: Words = {
    "en": r"in year",
    "de": r"jahr",
    "fr": r"en",
    "en, de": r"since seit",
    "pt": r"em",
    "it": r"nel",
    "pl": r"w",
    "ru": r"в",
}
WHAT: Words = {
    "en": r"what",
    "nl": r"wat\s+is",
    "de": r"wie\s+(?:hoch|lautet) was\s+ist",
    "fr": r"quel(?:le)?\s+est",
    "es": r"cuál\s+es a\s+qué",
    "it, pt": r"qual\s+(?:è|é)",
    "pl": r"jak[ai]",
    "ru": r"какова? с\s+какой",
}
CALCULATE: Words = {
    "en": r"""calculate compute simplify factor\s+\d+ work\s+out solve\s+(?:for|the) how\s+many
        what\s+(?:percent(?:age)?|fraction|number|value|power)""",
    "de": r"berechne bestimme löse vereinfache ermittle wie\s*viele[nr]?",
    "fr": r"calcule[rz]? détermine résou[sd] simplifie combien\s+d[e']",
    "es": r"calcula determina resuelve simplifica halla cuánt[oa]s",
    "it": r"calcola risolvi semplifica quant[aei]",
    "pt": r"resolva simplifique quant[oa]s",
    "nl": r"bereken vereenvoudig los\s+op hoeveel(?!\s+kost)",
    "pl": r"oblicz rozwiąż ilu ile(?!\s+kosz)",
    "tr": r"hesapla kaç",
    "ru": r"(?:вычисли|найди|реши|упрости)(?:те)?",
}
CALCULATE_SIGNS: Words = {
    "zh": r"计算 計算 求出",
    "ja": r"求め いくつ 何(?:[個人本円回枚日]|時間)",
    "ko": r"몇 계산",
    "ar": r"احسب",
    "hi": r"ज्ञात गणना हल\s",
}
EXACT_NOUNS: Words = {
    "en": r"""values? sums? products? differences? quotient remainder area volume perimeter circumference probability
        averages? mean median ratio percentage angle slope root degrees? coefficient integers? solutions? numbers?
        (?:greatest|least|smallest|largest)\s+(?:common|possible|positive|integer|prime|number|value)""",
    "de": r"fläche umfang summe",
    "fr": r"valeur somme aire probabilité",
    "it": r"valore?",
    "es": r"suma área area",
    "nl": r"soma waarde som",
    "pl": r"pole",
    "ru": r"площадь сумма",
}
HOW_MUCH: Words = {
    "en": r"how\s+(?:much|old|long|far|fast|tall|big|large|high|heavy)",
    "de": r"wie\s*(?:viel|groß|hoch|lang|alt|weit|schwer|schnell)",
    "fr": r"combien",
    "es": r"cuánt[oa]",
    "pt": r"quant[oa]",
    "nl": r"hoeveel",
    "pl": r"ile",
    "ru": r"сколько",
    "tr": r"ne\s+kadar",
}
HOW_MUCH_SIGNS: Words = {
    "zh": r"多少 几[个個人只本天] 幾[個人隻本天]",
    "ja": r"いくら 何\s?k?m",
    "ko": r"얼마",
    "ar": r"كم\s",
    "hi": r"कितन",
}
AMOUNT_NOUNS: Words = {
    "en": r"""total cost prices? profit amount distance length width height weights? depth speed ages? salary minimum
        maximum""",
    "de": r"preis geschwindigkeit",
    "fr": r"prix vitesse",
    "es": r"precio velocidade?",
    "it": r"prezzo velocità",
    "pt": r"preço",
    "nl": r"prijs snelheid",
    "pl": r"cena prędkość",
    "ru": r"скоростью? цена",
}

"""Make training prompts for task detection from the templates in `detection_prompts.txt`. All of it is our own wording."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

TEMPLATES = Path(__file__).with_name("detection_prompts.txt")
SLOTS = {
    "p": [
        "Anna",
        "Ben",
        "Carlos",
        "Mei",
        "Omar",
        "Yuki",
        "Priya",
        "Lena",
        "Juma",
        "Sofia",
        "Tariq",
        "Ivan",
        "Nora",
        "Sam",
        "Mrs. Hill",
        "my brother",
        "Elsa",
        "Kofi",
    ],
    "t": [
        "apples",
        "marbles",
        "books",
        "pencils",
        "eggs",
        "stickers",
        "chairs",
        "tickets",
        "cookies",
        "stamps",
        "lamps",
        "coins",
        "balloons",
        "cups",
        "toys",
    ],
    "l": [
        "Python",
        "JavaScript",
        "Java",
        "C++",
        "C#",
        "Rust",
        "Go",
        "TypeScript",
        "PHP",
        "Ruby",
        "SQL",
        "Bash",
        "Kotlin",
        "Swift",
        "R",
        "C",
        "Perl",
        "PyTorch",
        "pandas",
        "React",
    ],
    "o": [
        "reverses a list",
        "sorts an array of numbers",
        "removes duplicates from a list",
        "returns the longest word of a string",
        "checks whether a string is a palindrome",
        "prints the prime numbers up to 100",
        "reads a file and counts its words",
        "merges two sorted lists",
        "finds the maximum in an array",
        "validates an email address",
        "converts a date to a string",
        "returns the sum of all even numbers",
        "calls an API and prints the result",
        "counts the vowels in a sentence",
    ],
    "b": [
        "reverse a string",
        "sort a list of tuples by the second item",
        "remove duplicates from an array",
        "read a CSV file",
        "find the largest number in an array",
        "check if a number is prime",
        "parse JSON",
        "connect to a database",
        "swap two variables",
        "calculate the factorial of a number",
        "find the intersection of two lists",
        "rename all files in a folder",
        "convert a string to uppercase",
        "print a triangle of stars",
        "generate a random password",
        "open a file and write to it",
        "loop over a dictionary",
        "find the median of two sorted arrays",
        "detect a cycle in a linked list",
        "count words in a text",
    ],
    "b2": [
        "a queue",
        "bubble sort",
        "a binary search",
        "a login form",
        "an LRU cache",
        "a linked list",
        "quicksort",
        "a web scraper",
        "a calculator",
        "a tic-tac-toe game",
        "matrix multiplication",
        "a hash map",
        "phone numbers",
        "a to-do list",
        "depth first search",
    ],
    "f": [
        "sumPairs",
        "getMax",
        "merge_lists",
        "nearest",
        "countWords",
        "is_valid",
        "findGap",
        "top_k",
        "parseRow",
    ],
    "d": [
        "gardening",
        "the sea",
        "climate change",
        "chess",
        "remote work",
        "old bridges",
        "photosynthesis",
        "the French Revolution",
        "coffee",
        "sleep",
        "learning languages",
        "electric cars",
        "jazz",
        "the immune system",
        "black holes",
        "inflation",
        "public transport",
        "bees",
        "friendship",
        "mathematics",
        "programming",
        "artificial intelligence",
        "statistics",
        "algebra in school",
        "Python decorators",
        "databases",
    ],
    "y": ["1789", "1848", "1914", "1945", "1969", "1989", "2001", "2012", "2020"],
    "x": [
        "The harbour handled 43 ships in spring, and nobody could say how many people worked there.",
        "Dear team, the meeting is moved to Monday at 10. Please bring the 3 reports.",
        "We stayed 4 nights and paid 320 euros; the room was cold, but the breakfast was good.",
        "The company was founded in 1987 by two sisters. It has 240 employees in 3 countries and sold 12,000 boats last year.",
        "He opened the door, looked at the 2 letters on the table and sat down without a word.",
        "The council voted 7 to 5 for the new bridge, which will cost 18 million and take 3 years.",
        "Lisa: are you coming? Tom: in 10 minutes. Lisa: ok, we have 2 pizzas.",
        "Rain is expected in the north, with 20 to 30 mm by Friday, while the south stays dry.",
        "I have worked as a nurse for 6 years and I would like to change to the day shift.",
        "The film is far too long, the second half is boring and I would give it 2 stars.",
        "The river rises in the hills and flows 310 km to the coast. Its name comes from an old word for silver.",
        "we had 2 floods and 3 storms this year how many more will come nobody knows",
    ],
}
ANSWERS = (
    "oxygen|nitrogen|carbon dioxide|helium|argon", "Perth|Sydney|Canberra|Hobart", "12|15|18|21|24", "sell|dry|hide|burn",
    "It rises.|It falls.|It stays the same.|None of these.", "巴黎|伦敦|柏林|罗马", "甲和乙|甲和丙|乙和丙|都不对",
    "happy|tired of it all|angry with her friend", "only I|only II|I and II|neither I nor II|all of them",
    "$\\frac{1}{2}$|$\\frac{1}{3}$|$2$|$\\sqrt{3}$", "der Markt|der Staat|die Bank", "la mer|la montagne|le désert",
    "Москва|Киев|Минск|Варшава", "東京|大阪|京都", "서울|부산|대구", "القاهرة|دبي|عمان",
    "The red mug is at the left end|The white mug is at the left end|The blue mug is at the left end", "kweli|uongo", "los Andes|el Amazonas|la costa|el sur",
)  # fmt: skip
ITEMS = (
    "Sea Otter|Second Wind|Late Again", "inflation|interest|debt", "Introduction|Methods|Results|Discussion",
    "Hi, how are you?|Fine, and you?|Not bad.", "bread|milk|eggs", "The cat ate the fish.|The dog chased the ball.",
    "Why do banks fail?|What is money?", "Plan one: move in May|Plan two: move in June", "价格|价值|成本", "光|影|水",
)  # fmt: skip
MARKS = ("{a}. {v}", "{a}) {v}", "({a}) {v}", "[{a}] {v}", "{a}: {v}", "({b}) {v}", "{b}) {v}", "{a}、{v}", "**{a}.** {v}",
         "{i}) {v}", "{i}. {v}", "{a}．{v}")  # fmt: skip
JOINS = ("\n", "\n", "\n", "\n\n", " ", "  ", ", ", "; ")
BEFORE = ("\n", "\n\n", "\nOptions:\n", "\nChoices: ", " ", "\nAnswer choices:\n")
AFTER = ("", "", "", "", "\nAnswer:", "\nAnswer with the letter only.", "\n\nThe correct answer is")
LEADS = ("", "", "", "", "", "", "Please ", "Hi! ", "Hello, ", "Question: ", "Q: ", "Task: ")
TAILS = {
    "math": (
        "",
        "",
        "",
        "",
        "",
        " Show your work.",
        " Think step by step.",
        " Give only the final number.",
        "\nAnswer:",
        " Thanks!",
    ),
    "code": ("", "", "", "", " Thanks.", " Explain it briefly.", " Keep it short.", " Please add comments."),
    "open": ("", "", "", "", " Keep it short.", " Thanks!", " Use at most 3 paragraphs.", " Be specific."),
}


def templates() -> list[tuple[str, str]]:
    """Return the kinds and templates of the file."""
    lines = (
        line
        for line in TEMPLATES.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    return [(kind, text.replace("\\n", "\n")) for kind, text in (line.split("|", 1) for line in lines)]


def prompts(copies: int = 6, seed: int = 7) -> Iterator[tuple[str, str]]:
    """Yield kinds and prompts: each template so often, with other words and numbers."""
    rng = random.Random(seed)
    for kind, template in templates():
        for _ in range(copies):
            yield _made(rng, kind, template)
        if kind == "math" or (kind == "open" and template[-1] in "?？؟"):
            yield "choice", with_options(rng, _made(rng, kind, template)[1])


def with_options(rng: random.Random, question: str) -> str:
    """Return a question with made-up options after it: numbers, words or sentences."""
    numbers = [str(rng.randint(2, 900)) for _ in range(5)]
    sentences = [*rng.sample(SLOTS["x"], 3), "None of them."]
    values = rng.choice(
        [
            numbers[: rng.randint(3, 5)],
            numbers[:4],
            sentences,
            rng.sample(SLOTS["d"], 4),
            rng.sample(SLOTS["o"], 4),
        ]
    )
    values = values if rng.random() < 0.6 else rng.choice(ANSWERS).split("|")
    return question + rng.choice(BEFORE) + _list(rng, "|".join(values)) + rng.choice(AFTER)


def _made(rng: random.Random, kind: str, template: str) -> tuple[str, str]:
    text = re.sub(r"\{(n|p|t|l|o|b2|b|f|d|y|x)\}", lambda slot: _word(rng, slot[1]), template)
    if kind == "stem":
        return "choice", text + rng.choice(BEFORE) + _list(rng, rng.choice(ANSWERS)) + rng.choice(AFTER)
    if kind in ("list", "listmath"):
        listed = _list(rng, rng.choice(ITEMS))
        return kind.replace("listmath", "math").replace("list", "open"), (
            f"{text}\n{listed}" if rng.random() < 0.7 else f"{listed}\n{text}"
        )
    if kind == "choice":
        return kind, text
    plain = text.isascii() and rng.random() < 0.25
    text = rng.choice(LEADS) + text if text.isascii() else text
    text += rng.choice(TAILS[kind]) if text.isascii() else ""
    return kind, text.lower() if plain else text


def _word(rng: random.Random, slot: str) -> str:
    if slot == "n":
        return str(
            rng.choice((rng.randint(2, 9), rng.randint(2, 30), rng.randint(10, 99), rng.randint(100, 2000)))
        )
    return rng.choice(SLOTS[slot])


def _list(rng: random.Random, values: str) -> str:
    items = values.split("|")
    rng.shuffle(items)
    mark, join = rng.choice(MARKS), rng.choice(JOINS)
    if mark.startswith(("{b}", "{i}")):
        join = "\n"
    made = [mark.format(a="ABCDEF"[i], b="abcdef"[i], i=i + 1, v=item) for i, item in enumerate(items)]
    return join.join(made)

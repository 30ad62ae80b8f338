"""Programming tasks with a reference solution as items: `python benchmarks/problems.py KIND FOLDER > KIND.jsonl`.

- leetcode, leetcode-zh: problems of a clone of github.com/doocs/leetcode, in English and in Chinese. Every other prompt has the
  site's template, the rest ask for "a Python function".
- codewars: katas of a clone of github.com/estraviz/codewars. Every other prompt names the function.
- alpaca: the Python tasks of `data/new_codealpaca.json` in a clone of github.com/sahil280114/codealpaca. Their answers are not checked.

The references are those of the repositories. Nothing of them is run here.
"""

import ast
import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from proxy.cascade.confidence.specification.bridge import FOR_TEMPLATES

Row = dict[str, object]

_DESCRIPTION = re.compile(r"<!-- description:start -->(.*?)<!-- description:end -->", re.DOTALL)
_PROGRAM = re.compile(r"```python\n(.*?)```", re.DOTALL)
_TAG = re.compile(r"<[^>\n]{1,200}>")
_FIRST_LINES = re.compile(r"(class Solution:\n[ ]+def [^\n]+:\n)")
_MOST_ALPACA = 2000


def plain(markup: str) -> str:
    """Return the text of HTML, as it is pasted from a page."""
    markup = re.sub(r"<strong[^>]*>(Input|Output|Explanation|输入|输出|解释)", r"<b>\1", markup)
    text = html.unescape(_TAG.sub("", markup))
    return re.sub(r"\n{3,}", "\n\n", text.replace("\xa0", " ")).strip()


def leetcode(folder: Path, name: str) -> Iterator[Row]:
    """Yield the problems whose solution is one method of a class Solution."""
    for path in sorted(folder.rglob(name)):
        page = path.read_text()
        shown, programs = _DESCRIPTION.search(page), _PROGRAM.findall(page)
        programs = [p for p in programs if _FIRST_LINES.search(p)]
        if shown is None or not programs:
            continue
        begun = _FIRST_LINES.search(programs[0])
        asked = (
            "\n\nWrite a Python function."
            if int(path.parent.name[:4]) % 2
            else f"\n\n```python\n{begun[1]}```"
        )
        whole = [FOR_TEMPLATES + p for p in programs]  # the site imports these for every program
        yield row(f"{name}-{path.parent.name[:4]}", plain(shown[1]) + asked, whole[0], other=whole[1:][-1:])


def codewars(folder: Path) -> Iterator[Row]:
    """Yield the katas that are solved by one file of functions."""
    for number, path in enumerate(sorted(folder.rglob("[Rr][Ee][Aa][Dd][Mm][Ee].md"))):
        programs = [p for p in path.parent.glob("*.py") if not p.name.startswith(("test", "__"))]
        if len(programs) != 1:
            continue
        try:
            names = [
                n.name for n in ast.parse(programs[0].read_text()).body if isinstance(n, ast.FunctionDef)
            ]
        except SyntaxError:
            continue
        if not names:
            continue
        asked = f"Write a Python function `{names[-1]}`." if number % 2 else "Write a Python function."
        yield row(f"codewars-{number}", f"{path.read_text()}\n\n{asked}", programs[0].read_text())


def alpaca(folder: Path) -> Iterator[Row]:
    """Yield tasks that ask for Python."""
    items = json.loads((folder / "data/new_codealpaca.json").read_text())
    asked = [
        i for i in items if re.search(r"python", i["instruction"], re.IGNORECASE) and "def " in i["output"]
    ]
    for number, item in enumerate(asked[:: max(1, len(asked) // _MOST_ALPACA)]):
        yield row(f"alpaca-{number}", f"{item['instruction']}\n{item['input']}".strip(), item["output"])


def row(name: str, prompt: str, reference: str, other: list[str] | None = None) -> Row:
    """Return an item of `benchmarks/examples.py`."""
    return {"id": name, "task": "code", "prompt": prompt, "reference": reference, "other": other or []}


if __name__ == "__main__":
    kind, place = sys.argv[1], Path(sys.argv[2])
    rows = {
        "leetcode": lambda: leetcode(place, "README_EN.md"),
        "leetcode-zh": lambda: leetcode(place, "README.md"),
        "codewars": lambda: codewars(place),
        "alpaca": lambda: alpaca(place),
    }[kind]()
    for item in rows:
        print(json.dumps(item, ensure_ascii=False))

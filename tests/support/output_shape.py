"""Whether an output has the form that a page shows: the same words and members, with other numbers and ids."""

import json
import re
from typing import Any

ANYTHING = "..."


def fits_text(shown: str, real: str) -> bool:
    """Compare lines. Numbers, ids and the width of columns may differ, and a line `...` stands for any lines."""
    lines = [_form(line) for line in real.splitlines()]
    after, anywhere = 0, True
    for form in filter(None, map(_form, shown.splitlines())):
        if form == ANYTHING:
            anywhere = True
            continue
        found = next((i for i in range(after, len(lines)) if lines[i] == form), None)
        if found is None or not (anywhere or not any(lines[after:found])):
            return False
        after, anywhere = found + 1, False
    return anywhere or not any(lines[after:])


def _form(line: str) -> str:
    if line.strip() == ANYTHING:
        return ANYTHING
    line = re.sub(r"\b(req|call)_\w+|\bsk-cope-[\w-]+", "ID", line)
    line = re.sub(r"\d[\d.,:-]*", "0", line)
    line = re.sub(r"[│┃]", "|", line)
    line = re.sub(r"[━─┏┓┗┛┳┻┡┩╇├┤┼└┘┴]+", "-", line)
    return " ".join(line.split())


def json_differences(shown: Any, real: Any, path: str = "$") -> list[str]:
    """Return each member of the shown value that the real one lacks or has with another type."""
    if isinstance(shown, dict) and isinstance(real, dict):
        missing = [f"{path}.{key} is missing" for key in shown.keys() - real.keys()]
        return missing + [
            problem
            for key in shown.keys() & real.keys()
            for problem in json_differences(shown[key], real[key], f"{path}.{key}")
        ]
    if isinstance(shown, list) and isinstance(real, list):
        if shown and not real:
            return [f"{path} is empty"]
        return [p for item in shown for p in json_differences(item, real[0], f"{path}[0]")]
    number = (int, float)
    if type(shown) is type(real) or (type(shown) in number and type(real) in number):
        return []
    return [f"{path} is {json.dumps(real)}"]

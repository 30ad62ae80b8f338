"""How the blocks of a page are read, and compared with real outputs."""

import pytest

from tests.support.output_shape import fits_text, json_differences
from tests.support.page_blocks import blocks

PAGE = """\
1. A step.

   ```sh title="Needs a GPU"
   one
     two
   ```

```json title="tasks.jsonl"
{}
```
"""
REAL = """\
Spend by stage
│ 3     │  17 │ 0.00021 │
│ all   │  18 │ 0.00031 │
Saved: much.
"""


def test_blocks_of_a_page(tmp_path):
    """An indented block loses its indentation, and its title says how it is treated."""
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    step, data = blocks(page)
    assert (step.line, step.language, step.text, step.runs) == (3, "sh", "one\n  two\n", False)
    assert (data.file, data.runs) == ("tasks.jsonl", True)


@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        (REAL, True),
        ("Spend by stage\n| 1 | 5 | 0.1 |\n| all | 2 | 3 |\nSaved: much.\n", True),
        ("Spend by stage\n...\n", True),
        ("...\n| all | 2 | 3 |\n...\n", True),
        ("Spend by stage\n", False),
        ("Spend by day\n...\n", False),
        ("Spend by stage\n| all | 2 | 3 |\nSaved: much.\n", False),
        ("Spend by stage\n...\n| none | 2 | 3 |\n...\n", False),
    ],
)
def test_text_fits(shown, fits):
    """Numbers and widths may differ, words and lines may not."""
    assert fits_text(shown, REAL) is fits


@pytest.mark.parametrize(
    ("shown", "problems"),
    [
        ({"a": 7, "b": [{"c": "x"}]}, []),
        ({"d": 1}, ["$.d is missing"]),
        ({"a": "1"}, ["$.a is 1"]),
        ({"b": [{"c": None}]}, ['$.b[0].c is "text"']),
        ({"e": [1]}, ["$.e is empty"]),
    ],
)
def test_json_fits(shown, problems):
    """Each member that a page shows is there, with its type."""
    assert json_differences(shown, {"a": 1, "b": [{"c": "text"}], "e": []}) == problems

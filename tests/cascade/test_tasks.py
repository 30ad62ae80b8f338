"""Task detection."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.tasks import detect, options, text_of, with_kind
from proxy.cascade.types import TaskKind

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def ask(text, **fields):
    return {"messages": [{"role": "user", "content": text}], **fields}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("What is 17 * 23?", "math"),
        ("12 + 30", "math"),
        ("A robe takes 2 bolts of blue fiber and half that much white. How many bolts in total?", "math"),
        ("Compute $\\dbinom{8}{4}$.", "math"),
        ("Find all $x$ such that $x^2 = 4.$", "math"),
        ("Anna hat 3 Äpfel und kauft 4 dazu. Wie viele hat sie?", "math"),
        ("Berechne die Fläche eines Kreises mit Radius 3.", "math"),
        ("Combien font 3 douzaines d'œufs à 2 euros ?", "math"),
        ("¿Cuántos días hay en 3 semanas?", "math"),
        ("Write a python function that reverses a list.", "code"),
        ("def add(a, b):\n    '''Add.'''\n", "code"),
        ("Fill this in.\nassert add(1, 2) == 3", "code"),
        ("Schreibe eine Funktion, die eine Liste umdreht.", "code"),
        ("Écris un programme qui trie une liste.", "code"),
        ("Escribe una función que sume dos números.", "code"),
        ("Write a C++ program to print primes.", "code"),
        ("Capital of France?\nA) Berlin\nB) Paris", "choice"),
        ("Capital of France? (A) Berlin (B) Paris (C) Rome", "choice"),
        ("Which is larger?\nA. 3\nB. 4", "choice"),
        ("Quanto fa 12 per 8?", "math"),
        ("Anna ha 3 mele e ne compra 4. Quante mele ha?", "math"),
        ("Quantos dias há em 3 semanas?", "math"),
        ("Hoeveel dagen zitten er in 3 weken?", "math"),
        ("У Анны 3 яблока, она купила ещё 4. Сколько у неё яблок?", "math"),
        ("Ile dni jest w 3 tygodniach?", "math"),
        ("小明有3个苹果，又买了4个，一共有多少个苹果？", "math"),
        ("りんごが3個あり、4個買いました。全部で何個ですか？", "math"),
        ("사과가 3개 있고 4개를 더 샀다. 모두 몇 개인가?", "math"),
        ("Scrivi una funzione che inverta una lista.", "code"),
        ("Escreva uma função que inverta uma lista.", "code"),
        ("Schrijf een functie die een lijst omkeert.", "code"),
        ("Напиши функцию, которая переворачивает список.", "code"),
        ("写一个反转列表的函数。", "code"),
        ("リストを反転する関数を書いてください。", "code"),
        ("리스트를 뒤집는 함수를 작성해 주세요.", "code"),
        ("Scrivi una poesia sul mare.", "open"),
        ("Quantos gostam de poesia?", "open"),
        ("Напиши стихотворение о море.", "open"),
        ("写一首关于大海的诗。", "open"),
        ("海についての詩を書いてください。", "open"),
        ("Write a short story about a lighthouse.", "open"),
        ("Why did Socrates drink hemlock?", "open"),
        ("Write an email to my 3 colleagues.", "open"),
        ("", "open"),
    ],
)  # fmt: skip
def test_the_kind_is_told_from_the_text(text, kind):
    """The words of the last user message tell the kind."""
    assert detect(ask(text)).kind == kind


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"tools": [TOOL]}, "agent"),
        ({"tools": [TOOL], "tool_choice": "none"}, "math"),
        ({"tools": []}, "math"),
        ({"functions": [{"name": "f"}]}, "agent"),
        ({"functions": [{"name": "f"}], "function_call": "none"}, "math"),
        ({"response_format": {"type": "json_object"}}, "structured"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "structured"),
        ({"response_format": {"type": "text"}}, "math"),
        ({"tools": [TOOL], "response_format": {"type": "json_object"}}, "agent"),
        ({"response_format": None, "tools": None}, "math"),
    ],
)
def test_fields_outrank_the_text(fields, kind):
    """Tools make an agent, else a response format makes structured output, else the text decides."""
    assert detect(ask("What is 2 + 2?", **fields)).kind == kind


def test_the_last_user_message_counts():
    """Earlier turns, assistant turns and parts that are no text are not looked at."""
    messages = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "user", "content": [{"type": "text", "text": "Tell me"}, {"type": "image_url", "image_url": {}},
                                     {"type": "text", "text": "a tale"}]},
        {"role": "assistant", "content": "What is 3 + 3?"},
    ]  # fmt: skip
    task = detect({"messages": messages})
    assert (task.text, task.kind) == ("Tell me\na tale", "open")


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("A) x\nB) y\nC) z", "ABC"),
        ("(A) x (B) y", "AB"),
        ("A. x\nB. y\nD. z", "AB"),
        ("A) only", ""),
        ("B) x\nC) y", ""),
        ("Mr. A. Smith and B. Jones", ""),
        ("let $f(A) = g(B)$", ""),
    ],
)
def test_options_are_letters_without_a_gap(text, letters):
    """Options start at A and go on without a gap, in any of the usual forms."""
    assert "".join(options(text)) == letters


def test_a_header_can_force_the_kind():
    """The kind is replaced, the rest of the task stays."""
    task = detect(ask("What is 2 + 2?"))
    forced = with_kind(task, TaskKind.OPEN)
    assert (forced.kind, forced.body, forced.text) == ("open", task.body, task.text)


def test_long_texts_take_no_time():
    """Text that invites backtracking is told apart in well under a second."""
    started = time.monotonic()
    for text in ("\n" * 10**6, "1+" * 10**6, "what is the " + "a-" * 10**6, "A) " * 10**6, "$" * 10**6):
        detect(ask(text))
    assert time.monotonic() - started < 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=9), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_odd_messages_are_no_error(messages):
    """Whatever stands where messages should be, detection answers."""
    assert isinstance(text_of({"messages": messages}), str)
    assert detect({"messages": messages}).kind in TaskKind

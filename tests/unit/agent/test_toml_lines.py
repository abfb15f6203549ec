from __future__ import annotations

import textwrap
from typing import Any

import pytest
from edgeglm_agent.settings.load import tomllib
from edgeglm_agent.settings.toml_lines import KeyPath, TomlLines, shown
from hypothesis import given, settings
from hypothesis import strategies as st

EVERYTHING = r'''
# every form that a key and a value can have
title = "text with # and \" and ] inside"      # 3
literal = 'C:\path # no comment'
"quoted key" . 'and another' = 1                # 5
a.b.c = 1_000
a.b.d = 2024-01-01T00:00:00Z
multi = """
one " two "" three \""" # no comment
[not.a.table]
key = "value"
"""                                             # 12
after = '''

EVERYTHING += "'''\n'one' ''two\n''''\n"

EVERYTHING += r"""numbers = [                                     # 16
  1, 2,
  # a comment, with ] and }
  [3,
   4], { x = 5,  y.z = 6 },
]
empty = []
inline = { p = { q = "}" }, "r" = ['}', "]"] }    # 23

[table]                                         # 25
k = 1e6
[ spaced . "out" ]
k = true

[[rows]]                                        # 30
name = "first"
[rows.below]
x = 1
[[rows.nested]]
y = 1
[[rows.nested]]                                 # 36
y = 2

[[rows]]                                        # 39
name = "second"
below.x = 2
"\u00e9\"" = 1                                  # 42
"""


def paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    below: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        below = list(value.items())
    elif isinstance(value, list):
        below = list(enumerate(value))
    return {path}.union(*(paths_of(item, (*path, part)) for part, item in below))


def test_every_key_and_item_of_every_form_has_its_line() -> None:
    found = TomlLines(EVERYTHING).lines
    assert set(found) | {()} == paths_of(tomllib.loads(EVERYTHING))
    expected = {
        ("title",): 3,
        ("literal",): 4,
        ("quoted key", "and another"): 5,
        ("a",): 6,
        ("a", "b", "d"): 7,
        ("multi",): 8,
        ("after",): 13,
        ("numbers",): 16,
        ("numbers", 0): 17,
        ("numbers", 1): 17,
        ("numbers", 2): 19,
        ("numbers", 2, 1): 20,
        ("numbers", 3): 20,
        ("numbers", 3, "y", "z"): 20,
        ("empty",): 22,
        ("inline", "p", "q"): 23,
        ("inline", "r", 1): 23,
        ("table",): 25,
        ("table", "k"): 26,
        ("spaced", "out", "k"): 28,
        ("rows",): 30,
        ("rows", 0, "name"): 31,
        ("rows", 0, "below"): 32,
        ("rows", 0, "nested", 1): 36,
        ("rows", 0, "nested", 1, "y"): 37,
        ("rows", 1): 39,
        ("rows", 1, "below", "x"): 41,
        ("rows", 1, 'é"'): 42,
    }
    assert {path: found[path] for path in expected} == expected


def test_lines_are_counted_alike_with_carriage_returns() -> None:
    text = "a = 1\r\n\r\n[b]\r\nc = [\r\n 1,\r\n 2]\r\n"
    assert TomlLines(text).lines == {("a",): 1, ("b",): 3, ("b", "c"): 4, ("b", "c", 0): 5, ("b", "c", 1): 6}


def test_a_table_has_the_line_of_its_header_not_of_a_table_below_it() -> None:
    assert TomlLines("[a.b]\n[a]\n").lines == {("a",): 2, ("a", "b"): 1}


def test_a_path_that_the_text_does_not_write_has_the_line_of_what_is_around_it() -> None:
    lines = TomlLines("\n[slots.main]\nthreads = 1\n")
    assert lines.nearest(("slots", "main", "input", "kind")) == 2
    assert lines.nearest(("mqtt", "host")) == 1


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        pytest.param("a = 1\n\na = 2", [(("a",), 1, 3)], id="key"),
        pytest.param("[a]\n[b]\n[a]", [(("a",), 1, 3)], id="table"),
        pytest.param("a = 1\n[a]", [(("a",), 1, 2)], id="key-then-table"),
        pytest.param("[a]\nb.c = 1\nb.c = 2", [(("a", "b", "c"), 2, 3)], id="dotted"),
        pytest.param("[[a]]\nx = 1\n[[a]]\nx = 1\nx = 2", [(("a", 1, "x"), 4, 5)], id="in-array-of-tables"),
        pytest.param("[a.b]\n[a]\nx.y = 1\nx.z = 2", [], id="none"),
    ],
)
def test_what_stands_twice_is_known_with_both_lines(text: str, repeated: list[Any]) -> None:
    assert TomlLines(text).repeated == repeated


@pytest.mark.parametrize("text", ["a = [1, 2", "a = {", "= 1", "a = 'x", "[a", "a", 'a = """x', "[[", "a = {b}", "."])
def test_what_is_no_toml_names_the_line(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        TomlLines(text)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="abc=.[]{}\"'\\#,\n 1", max_size=60))
def test_any_text_ends(text: str) -> None:
    """Whatever the text; and where it is TOML, all of it is found."""
    try:
        expected = paths_of(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError):
        expected = None
    try:
        found = TomlLines(text).lines
    except ValueError:
        assert expected is None
    else:
        assert expected is None or set(found) | {()} == expected


KEYS = st.sampled_from(["a", "b-c", "1", "é", 'q"uote', "dot.ted", "sp ace", "tab\t"])
SCALARS = st.one_of(
    st.integers(-99, 99),
    st.booleans(),
    st.sampled_from(["", "x", 'a "b" # c', "back\\slash", "'", "]", "}", "line\nbreak", '"""', "'''"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def quoted(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'


class Writer:
    """Writes TOML, in a form that `draw` chooses, and notes the line of all it writes."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def note(self, path: KeyPath) -> None:
        self.lines[path] = self.text.count("\n") + 1

    def blank(self) -> None:
        self.text += self.draw(st.sampled_from(["", " ", "\n", "\n# a ] comment = }\n  "]))

    def value(self, value: Any, path: KeyPath) -> None:
        if isinstance(value, bool):
            self.text += str(value).lower()
        elif isinstance(value, int):
            self.text += str(value)
        elif isinstance(value, list):
            self.text += "["
            for number, item in enumerate(value):
                self.text += "," if number else ""
                self.blank()
                self.note((*path, number))
                self.value(item, (*path, number))
                self.blank()
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{ "
            for number, (key, item) in enumerate(value.items()):
                self.text += ", " if number else ""
                self.pair(key, item, path)
            self.text += " }"
        elif "\n" in value and self.draw(st.booleans()) and '"""' not in value and "\\" not in value:
            self.text += f'"""\n{value}"""'
        else:
            self.text += quoted(value)

    def pair(self, key: str, value: Any, path: KeyPath) -> None:
        self.note((*path, key))
        self.text += f"{key if key in ('a', 'b-c', '1') else quoted(key)} = "
        self.value(value, (*path, key))

    def table(self, values: dict[str, Any], path: KeyPath) -> None:
        tables = {}
        for key, value in values.items():
            rows = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
            if (isinstance(value, dict) or rows) and self.draw(st.booleans()):
                tables[key] = value
                continue
            self.pair(key, value, path)
            self.text += "\n"
        for key, value in tables.items():
            header = ".".join(quoted(part) for part in (*path, key) if isinstance(part, str))
            self.note((*path, key))
            for number, item in enumerate(value if isinstance(value, list) else [value]):
                below: KeyPath = (*path, key, number) if isinstance(value, list) else (*path, key)
                self.note(below)
                self.text += f"[[{header}]]\n" if isinstance(value, list) else f"[{header}]\n"
                self.table(item, below)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_is_written_is_found_where_it_was_written(data: st.DataObject, document: dict[str, Any]) -> None:
    writer = Writer(data.draw)
    writer.table(document, ())
    assert tomllib.loads(writer.text) == document
    found = TomlLines(writer.text)
    assert found.lines == writer.lines
    assert found.repeated == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("mqtt", "tls", "ca"), "mqtt.tls.ca"),
        (("slots", "main", "results", 0, "path"), "slots.main.results[0].path"),
        (("slots", "door.left", "model"), 'slots."door.left".model'),
    ],
)
def test_a_path_is_shown_as_the_file_writes_it(path: KeyPath, text: str) -> None:
    assert shown(path) == text


def test_a_long_file_is_read_in_one_go() -> None:
    text = "".join(textwrap.dedent(f"[slots.s{number}]\nmodel = 'm'\n") for number in range(5000))
    assert TomlLines(text).lines["slots", "s4999", "model"] == 10000

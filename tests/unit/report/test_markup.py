from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from edgeglm.report.markup import Markup, clean, element, join


class Reader(HTMLParser):
    """What a browser would make of the markup: elements with attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def without_line_ends(text: str) -> str:
    return clean(text).replace("\r\n", "\n").replace("\r", "\n")


@given(st.text(), st.text())
def test_any_text_and_attribute_come_back_as_text_and_attribute(text: str, value: str) -> None:
    found = Reader(element("p", text, title=value))
    assert without_line_ends(found.text) == without_line_ends(text)
    assert [tag for tag, _ in found.tags] == ["p"]
    assert found.tags[0][1].keys() == {"title"}
    assert found.tags[0][1]["title"] == clean(value)


def test_markup_is_put_in_as_it_is_and_strings_are_escaped() -> None:
    inner = element("b", "a < b")
    assert element("p", inner, " & ", None, ["<", [inner]]) == "<p><b>a &lt; b</b> &amp; &lt;<b>a &lt; b</b></p>"
    assert isinstance(join("x"), Markup)


def test_attributes_are_written_as_html_has_them() -> None:
    made = element("path", class_="x", aria_label="y", open=True, hidden=False, title=None, width=1.50, n=3, name="z")
    assert made == '<path class="x" aria-label="y" open width="1.5" n="3" name="z"></path>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_control_and_direction_characters_are_replaced() -> None:
    assert clean("a\x1b[31m\u202eb\x00\x85\ud800\n\t") == "a\ufffd[31m\ufffdb\ufffd\ufffd\ufffd\n\t"

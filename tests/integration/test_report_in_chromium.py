"""The page as people see it: a real browser, a phone and a desktop, light and dark."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from edgeglm.report.html import render_html
from tests.support.browser import browser, set_size, show
from tests.support.reports import SAMPLES, embedding_report, rich_report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

PHONE, DESKTOP = (360, 800), (1280, 900)

_OPEN_ALL = "document.querySelectorAll('details').forEach(part => part.open = true)"
_WIDTHS = "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
_CHARTS = """
return [...document.querySelectorAll('svg.chart')].map(chart => {
  const frame = chart.getBoundingClientRect();
  const texts = [...chart.querySelectorAll('text')].map(text => [text, text.getBoundingClientRect()]);
  const out = texts.filter(([, box]) => box.left < frame.left - 1 || box.right > frame.right + 1
    || box.bottom > frame.bottom + 2);
  const rows = texts.filter(([text]) => !text.classList.contains('tick'));
  const over = rows.filter(([, a], i) => rows.some(([, b], j) => i < j && a.left < b.right && b.left < a.right
    && a.top + 2 < b.bottom && b.top + 2 < a.bottom));
  const shown = ([text]) => text.lastChild.textContent;
  return {width: frame.width, height: frame.height, out: out.map(shown), over: over.map(shown)};
})
"""
_BROKEN_WORDS = """
const broken = [];
for (const head of document.querySelectorAll('.cards thead th')) {
  const walker = document.createTreeWalker(head, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    for (const word of node.data.matchAll(/[^\\s\\/-]+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) broken.push(word[0]);
    }
}
return broken;
"""
# WCAG 2.2: 4.5 to 1 for text. Backgrounds that let something through are mixed with what lies below them.
_LOW_CONTRAST = """
const channel = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = c => 0.2126 * channel(c[0] / 255) + 0.7152 * channel(c[1] / 255) + 0.0722 * channel(c[2] / 255);
const parse = text => { const c = text.match(/[0-9.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
const below = node => {
  let stack = [];
  for (; node; node = node.parentElement) stack.push(parse(getComputedStyle(node).backgroundColor));
  return stack.reverse().reduce((base, c) => base.map((b, i) => c[i] * c[3] + b * (1 - c[3])), [255, 255, 255]);
};
const found = [];
for (const node of document.querySelectorAll('body *')) {
  const own = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
  const box = node.getBoundingClientRect();
  if (!own || !box.width || ['TITLE', 'DESC'].includes(node.tagName.toUpperCase())) continue;
  const style = getComputedStyle(node);
  const ink = light(parse(node instanceof SVGElement ? style.fill : style.color)), paper = light(below(node));
  const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  if (ratio < 4.5) found.push(`${node.tagName}.${node.getAttribute('class')} ${ratio.toFixed(2)} ${node.textContent}`);
}
return found;
"""


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, sample in SAMPLES.items():
        (folder / f"{name}.html").write_text(render_html(sample()), "utf-8")
    return {name: folder / f"{name}.html" for name in SAMPLES}


def requests(driver: Chrome) -> list[str]:
    """Every URL the browser asked for since the last call, without its own start page."""
    events: list[dict[str, Any]] = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("data:", "about:", "chrome:"))]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(("width", "height"), [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_fits_the_window_and_asks_for_nothing(
    chrome: Chrome, pages: dict[str, Path], name: str, width: int, height: int
) -> None:
    requests(chrome), chrome.get_log("browser")
    show(chrome, pages[name], width=width, height=height)
    assert chrome.execute_script("return innerWidth") == width
    for opened in (False, True):
        if opened:
            chrome.execute_script(_OPEN_ALL)
        scroll, client = chrome.execute_script(_WIDTHS)
        assert scroll <= client
    assert requests(chrome) == [pages[name].as_uri()]
    assert chrome.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert chrome.get_log("browser") == []


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(("width", "height"), [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_every_chart_is_there_and_no_word_of_it_is_cut_off_or_covered(
    chrome: Chrome, pages: dict[str, Path], name: str, width: int, height: int
) -> None:
    show(chrome, pages[name], width=width, height=height)
    charts = chrome.execute_script(_CHARTS)
    of_files = {"cifar": 2 + 1 + 4, "digits": 1 + 1, "bare": 0, "wide": 1, "hostile": 6, "rich": 2 + 1 + 5 + 2 + 2}
    of_files["embedding"] = 2 + 1
    assert len(charts) == 3 + of_files[name]
    for chart in charts:
        assert chart["width"] > 250
        assert chart["height"] > 30
        assert chart["out"] == []
        assert chart["over"] == []


@pytest.mark.parametrize("width", [1280, 820])
def test_no_word_at_the_head_of_a_column_is_broken(chrome: Chrome, tmp_path: Path, width: int) -> None:
    for sample in (rich_report, embedding_report):
        page = tmp_path / "page.html"
        page.write_text(render_html(sample()), "utf-8")
        show(chrome, page, width=width, height=900)
        assert chrome.execute_script(_BROKEN_WORDS) == []


def test_nothing_a_user_wrote_runs(chrome: Chrome, pages: dict[str, Path]) -> None:
    requests(chrome)
    show(chrome, pages["hostile"], width=1280, height=900)
    chrome.execute_script(_OPEN_ALL)
    assert chrome.execute_script("return document.querySelectorAll('script, img, image, [onerror]').length") == 0
    assert requests(chrome) == [pages["hostile"].as_uri()]
    assert "<script>alert(1)</script>" in chrome.title  # an alert would have raised here


def test_a_request_that_got_into_the_page_would_be_refused(chrome: Chrome, pages: dict[str, Path]) -> None:
    show(chrome, pages["digits"], width=1280, height=900)
    chrome.get_log("browser")
    chrome.execute_script("const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)")
    said = " ".join(entry["message"] for entry in chrome.get_log("browser"))
    assert "Content Security Policy" in said


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["rich", "embedding", "cifar", "digits", "bare"])
def test_every_text_stands_out_from_its_ground(chrome: Chrome, pages: dict[str, Path], name: str, dark: bool) -> None:
    show(chrome, pages[name], width=1280, height=900, dark=dark)
    chrome.execute_script(_OPEN_ALL)
    ground = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(15, 21, 27)" if dark else "rgb(246, 247, 249)")
    assert chrome.execute_script(_LOW_CONTRAST) == []


def test_on_a_phone_each_figure_of_an_artifact_stands_under_its_name(chrome: Chrome, pages: dict[str, Path]) -> None:
    look = "return getComputedStyle(document.querySelector('.cards td[data-label=Size]'), '::before').content"
    show(chrome, pages["cifar"], width=360, height=800)
    assert chrome.execute_script(look) == '"Size"'
    set_size(chrome, width=1280, height=900)
    assert chrome.execute_script(look) == "none"


def test_on_paper_the_folded_parts_are_open_and_the_ground_is_white(chrome: Chrome, pages: dict[str, Path]) -> None:
    show(chrome, pages["cifar"], width=1280, height=900, dark=True)
    hidden = "return document.querySelector('pre').checkVisibility({contentVisibilityAuto: true})"
    assert not chrome.execute_script(hidden)
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        # the browser lays the page out anew when it draws its next frame; the wait guards against a hang
        WebDriverWait(chrome, 60).until(lambda driver: driver.execute_script(hidden))
        assert chrome.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    finally:
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_mark_of_the_plot_is_reached_by_keyboard_shows_it_and_leads_to_its_row(
    chrome: Chrome, pages: dict[str, Path]
) -> None:
    from selenium.webdriver.common.keys import Keys

    show(chrome, pages["rich"], width=1280, height=900)
    chrome.execute_script("document.querySelector('.scatter a[href=\"#file-3\"]').focus()")
    mark = chrome.switch_to.active_element
    assert mark.get_attribute("aria-label") == "3. ONNX float32: 93.2 %, 1.59 MB"
    mark.send_keys(Keys.TAB)
    assert chrome.switch_to.active_element.get_attribute("class").startswith("point")
    chrome.execute_script("document.querySelector('.scatter a[href=\"#file-3\"]').focus()")
    chrome.switch_to.active_element.send_keys(Keys.ENTER)
    assert chrome.execute_script("return document.querySelector(':target').id") == "file-3"


def test_pictures_inside_the_page_are_shown_and_others_refused(chrome: Chrome, pages: dict[str, Path]) -> None:
    show(chrome, pages["rich"], width=360, height=800)
    chrome.execute_script(_OPEN_ALL)
    sizes = chrome.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert sizes == [24, 24]
    chrome.get_log("browser")
    chrome.execute_script("const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)")
    assert "Content Security Policy" in " ".join(entry["message"] for entry in chrome.get_log("browser"))

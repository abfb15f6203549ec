"""The fleet's page as people see it: a real server, a real store, a real browser."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import sqlite3
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from edgeglm_agent.wire.telemetry import BoardReading, row_of
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from edgeglm.fleet.store.sqlite_schema import SCHEMA
from edgeglm.fleet.store.types import Arrivals, Device, IncomingBatch, IncomingState, Stream
from tests.integration.test_report_in_chromium import _LOW_CONTRAST as LOW_CONTRAST
from tests.support.browser import browser, set_size
from tests.support.fleet.boards import event, slot, state, window
from tests.support.fleet.filled import Filled
from tests.support.fleet.page import PATIENCE_S, RunningPage, running_page
from tests.support.fleet.receiver import receiving
from tests.support.fleet.simulated import Simulated

PHONE, DESKTOP = (360, 800), (1280, 900)
MARKUP = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>'\"&lt;"
EVIL = Device("north", "evil-1")
WORDS_ON_CANVAS = """
window.words = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, ...more) {
  if (this.textAlign === "center") window.words.push({text, half: this.measureText(text).width / 2 / devicePixelRatio});
  return write.call(this, text, x, ...more);
};
"""
ROOMS = """
const right = (plot, part) => plot.querySelector(part).getBoundingClientRect().right;
return [...document.querySelectorAll(".plot .uplot")].map(plot => right(plot, "canvas") - right(plot, ".u-over"));
"""
COLOURED = """
(() => {
  const canvas = document.querySelector("#charts canvas");
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const columns = new Set();
  for (let at = 0; at < data.length; at += 4) {
    const shades = [data[at], data[at + 1], data[at + 2]];
    if (data[at + 3] > 200 && Math.max(...shades) - Math.min(...shades) > 100) columns.add((at / 4) % canvas.width);
  }
  return columns.size;
})()
"""
WIDTHS = "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """Boards that simulate their last half hour, and one that writes markup wherever it may write a text."""
    path = tmp_path_factory.mktemp("page") / "fleet.db"
    made = Simulated(path, devices=40, window_s=60, lasts_s=1800, end_ms=now_ms())
    said = state(EVIL.name, slots={"main": slot(MARKUP, MARKUP, why=MARKUP, runtime=MARKUP)}, board={MARKUP: MARKUP})
    told = [
        window(at_ms=now_ms() - 90_000, errors={MARKUP: 5000}),
        event(at_ms=now_ms() - 60_000, name="anomaly", detail={"said": MARKUP, MARKUP: 1}),
    ]
    batch = IncomingBatch(
        Stream(EVIL, b"12345678"), tuple(row_of(at, body) for at, body in enumerate(told, 1)), now_ms()
    )
    made.commit(Arrivals([batch], [IncomingState(EVIL, said, now_ms())]))
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(fleet: Simulated) -> Iterator[RunningPage]:
    with running_page(fleet.url) as running:
        yield running


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


def until(chrome: Chrome, script: str) -> Any:
    """Wait until a script returns something."""
    return WebDriverWait(chrome, PATIENCE_S, 0.1).until(lambda driver: driver.execute_script(f"return {script}"))


def opened(chrome: Chrome, url: str, *, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
    chrome.get_log("browser"), chrome.get_log("performance")
    set_size(chrome, width=size[0], height=size[1], dark=dark)
    chrome.get(url)
    until(chrome, "document.getElementById('link')?.textContent === 'Live'")


def asked_elsewhere(chrome: Chrome, url: str) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    return [one for one in asked if not one.startswith((url, "data:", "about:", "chrome:"))]


@pytest.mark.parametrize(
    ("path", "ready"),
    [
        ("", "document.querySelectorAll('#boards tbody tr').length === 41"),
        ("models", "document.querySelectorAll('#models tbody tr').length >= 4"),
        ("board/north/gate-07", "document.querySelectorAll('#charts canvas').length >= 5"),
        ("board/north/evil-1", "document.querySelectorAll('#events tbody tr').length === 1"),
    ],
)
def test_every_page_fits_is_readable_and_asks_nobody_else(
    chrome: Chrome, page: RunningPage, path: str, ready: str
) -> None:
    for size, dark in ((DESKTOP, False), (PHONE, True)):
        opened(chrome, page.url + path, size=size, dark=dark)
        until(chrome, ready)
        assert chrome.execute_script("return document.getElementById('zone').textContent").startswith("Times are of ")
        scroll, client = chrome.execute_script(WIDTHS)
        assert scroll <= client
        assert chrome.execute_script(LOW_CONTRAST) == []
        assert asked_elsewhere(chrome, page.url) == []
        assert chrome.get_log("browser") == [], "nothing was refused or failed"


@pytest.mark.parametrize("path", ["", "models", "board/north/gate-07?span=1h"])
def test_the_last_word_below_a_chart_has_room_on_a_phone(chrome: Chrome, page: RunningPage, path: str) -> None:
    """Its middle may be where the curve ends: half of it stands beyond."""
    added = chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WORDS_ON_CANVAS})
    try:
        opened(chrome, page.url + path, size=(400, 800))
        words = until(chrome, "window.words.length >= 2 && window.words")
        rooms = chrome.execute_script(ROOMS)
    finally:
        chrome.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": added["identifier"]})
    assert [one for one in words if one["half"] > min(rooms)] == []


def test_what_boards_write_is_text_and_never_markup(chrome: Chrome, page: RunningPage) -> None:
    for path in ("?problem=erroring", "models", "board/north/evil-1"):
        opened(chrome, page.url + path)
        until(chrome, "document.body.innerText.includes('<img src=x')")
        assert chrome.execute_script("return document.querySelectorAll('main img, main script').length") == 0
        assert chrome.title != "taken"
        assert chrome.get_log("browser") == []


def test_a_board_that_falls_ill_is_seen_without_a_reload(chrome: Chrome, page: RunningPage, fleet: Simulated) -> None:
    opened(chrome, page.url)
    row = "[...document.querySelectorAll('#boards tbody tr')].find(row => row.textContent.includes('evil-1'))"
    until(chrome, row)
    chrome.execute_script("window.kept = true")
    hot = window(at_ms=now_ms() - 5000, board=BoardReading(temperature_decic=991))
    rows = (row_of(3, hot),)
    fleet.commit(Arrivals([IncomingBatch(Stream(EVIL, b"12345678"), rows, now_ms())]))
    until(chrome, f"{row}.textContent.includes('99.1 C; the limit is 80 C')")
    assert chrome.execute_script("return window.kept")


@pytest.mark.full
def test_a_page_whose_server_no_longer_says_anything_is_not_called_live(chrome: Chrome, fleet: Simulated) -> None:
    with running_page(fleet.url) as page:
        opened(chrome, page.url)
        page.process.send_signal(signal.SIGSTOP)
        until(chrome, "document.getElementById('link').textContent.startsWith('Connection lost; what you see is')")
        page.process.send_signal(signal.SIGCONT)
        until(chrome, "document.getElementById('link').textContent === 'Live'")


def test_the_table_is_found_sorted_and_walked_with_the_keyboard_alone(chrome: Chrome, page: RunningPage) -> None:
    opened(chrome, page.url)
    until(chrome, "document.querySelectorAll('#boards tbody tr').length === 41")
    body = chrome.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert chrome.switch_to.active_element.text == "Skip to the content"
    find = chrome.find_element(By.ID, "words")
    find.send_keys("jetson 1.4")
    until(chrome, "document.getElementById('shown').textContent.includes('(of 41 in all)')")
    assert all("Jetson" in row.text for row in chrome.find_elements(By.CSS_SELECTOR, "#boards tbody tr"))
    find.send_keys(Keys.CONTROL, "a", Keys.DELETE)
    head = chrome.find_element(By.XPATH, "//table[@id='boards']//button[text()='Board']")
    head.send_keys(Keys.ENTER)
    first = until(chrome, "document.querySelector('#boards th[aria-sort]')?.textContent === 'Board'"
                  " && document.querySelector('#boards tbody a').textContent")  # fmt: skip
    assert first == "evil-1"
    head.send_keys(Keys.ENTER)
    until(chrome, "document.querySelector('#boards tbody a').textContent === 'gate-39'")
    link = chrome.find_element(By.CSS_SELECTOR, "#boards tbody a")
    chrome.execute_script("arguments[0].focus()", link)
    time.sleep(2.5)  # two looks of the server go by
    assert chrome.switch_to.active_element == link, "news take the focus from nobody"
    link.send_keys(Keys.ENTER)
    until(chrome, "document.getElementById('title')?.textContent === 'gate-39'")


def test_times_have_a_zone_and_online_a_meaning(chrome: Chrome, page: RunningPage) -> None:
    chrome.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "America/Phoenix"})
    try:
        opened(chrome, page.url)
        assert until(chrome, "document.getElementById('zone').textContent") == (
            "Times are of America/Phoenix, now UTC-07:00"
        )
        assert "online: connected, as far as the broker knows" in until(
            chrome, "document.getElementById('tiles').innerText"
        )
    finally:
        chrome.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_a_chart_has_a_table_of_its_numbers(chrome: Chrome, page: RunningPage) -> None:
    opened(chrome, f"{page.url}board/north/gate-07?span=6h")
    until(chrome, "document.querySelectorAll('#charts canvas').length >= 5")
    assert "p95 " in until(chrome, "document.querySelector('#charts [role=img]').getAttribute('aria-label')")
    chrome.find_element(By.CSS_SELECTOR, "#charts summary").send_keys(Keys.ENTER)
    until(chrome, "document.querySelectorAll('#charts table tbody tr').length > 10")
    assert chrome.execute_script(
        "return document.querySelector('#spans [aria-pressed=true]').textContent") == "6 hours"  # fmt: skip


def test_figures_are_read_at_a_glance(chrome: Chrome, page: RunningPage) -> None:
    chrome.get(page.url)
    said = chrome.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "import('/static/dom.js').then(dom => done(arguments[0].map(dom.figure)));",
        [0, 3.314, 999.6, 25_900, 999_500, 25_920_000, 1e15, None],
    )
    assert said == ["0", "3.31", "1\u202f000", "25\u202f900", "1M", "25.9M", "1.0e+15", "\u2013"]


def test_a_board_that_speaks_once_a_day_is_seen_over_a_month_and_one_that_is_not_known_has_no_charts(
    chrome: Chrome, tmp_path: Path
) -> None:
    board, at_ms = Device("north", "solar-1"), now_ms()
    with closing(Filled(tmp_path)) as store:
        store.say(board, state(board.name), at_ms)
        for days in range(28, 0, -1):
            store.send(board, window(at_ms=at_ms - days * 86_400_000), received_ms=at_ms - days * 86_400_000)
        with running_page(store.url) as page:
            opened(chrome, f"{page.url}board/north/solar-1?span=30d")
            until(chrome, "document.querySelectorAll('#charts canvas').length >= 5")
            assert until(chrome, COLOURED.strip()) > 28, "each day is a dot"
            opened(chrome, f"{page.url}board/north/solar-2")
            until(chrome, "document.getElementById('note').textContent === 'Nothing is known of this board.'")
            assert chrome.execute_script("return document.getElementById('charts').getClientRects()[0].height") == 0


def test_a_store_that_is_not_there_or_newer_is_said_and_gone_on_with(chrome: Chrome, tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    with running_page(f"sqlite:///{path}") as page:
        opened(chrome, page.url)
        until(chrome, "document.getElementById('trouble').innerText.includes('there is no store')")
        made = Simulated(path, devices=2, window_s=60, lasts_s=120, end_ms=now_ms())
        until(chrome, "document.querySelectorAll('#boards tbody tr').length === 2")
        assert chrome.execute_script("return document.getElementById('trouble').hidden")
        made.close()
        with sqlite3.connect(path) as db:
            db.execute(f"pragma user_version = {SCHEMA + 1}")
        db.close()
        until(chrome, f"document.getElementById('trouble').innerText.includes('schema {SCHEMA + 1}')")
        code, said = page.end(signal.SIGINT)
        assert code == 130
        assert "Traceback" not in said
        until(chrome, "document.getElementById('link').textContent.startsWith('Connection lost')")


def read_news(lines: Iterator[str]) -> tuple[dict[str, Any], int]:
    """Return the next news of a stream, and how many characters it took."""
    text = next(line for line in lines if line.startswith("data: "))
    return json.loads(text[6:]), len(text)


def test_a_thousand_boards_are_shown_and_each_change_of_one_is_little(chrome: Chrome, tmp_path: Path) -> None:
    made = Simulated(tmp_path / "fleet.db", devices=1000, window_s=60, lasts_s=600, end_ms=now_ms())
    with running_page(made.url) as page, httpx.Client(timeout=PATIENCE_S) as client:
        with client.stream("GET", f"{page.url}live?view=fleet") as stream:
            lines = stream.iter_lines()
            first, size = read_news(lines)
            assert (len(first["boards"]), first["head"]["boards"], first["all"]) == (1000, 1000, True)
            rows = (row_of(1, window(at_ms=now_ms() - 1000)),)
            made.commit(Arrivals([IncomingBatch(Stream(EVIL, b"12345678"), rows, now_ms())]))
            seen: list[str] = []
            while "north/evil-1" not in seen:
                then, less = read_news(lines)
                seen = [one["id"] for one in then["boards"]]
                assert less < size / 10
        opened(chrome, page.url)
        until(chrome, "document.querySelectorAll('#boards tbody tr').length === 100")
        assert "1\u202f001 boards" in chrome.find_element(By.ID, "shown").text
        chrome.find_element(By.ID, "words").send_keys("gate-777")
        until(chrome, "document.querySelectorAll('#boards tbody tr').length === 1")
        assert chrome.get_log("browser") == []
    made.close()


def test_it_ends_with_streams_open_and_readers_that_take_nothing(fleet: Simulated) -> None:
    with running_page(fleet.url) as page:
        port = int(page.url.rsplit(":", 1)[1].strip("/"))
        streams = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for stream in streams:
            stream.sendall(b"GET /live?view=fleet HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert streams[0].recv(12) == b"HTTP/1.1 200"
        code, said = page.end()
        assert (code, said) == (143, "")
        for stream in streams:
            stream.close()


def test_alarms_are_told_to_a_webhook_when_they_are_raised_and_when_they_are_over(tmp_path: Path) -> None:
    made = Simulated(tmp_path / "fleet.db", devices=2, window_s=60, lasts_s=120, end_ms=now_ms())
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules: [hot: {temperature_c: 95}]\n")

    def told(sequence: int, decic: int) -> None:
        rows = (row_of(sequence, window(at_ms=now_ms() - 1000, board=BoardReading(temperature_decic=decic))),)
        made.commit(Arrivals([IncomingBatch(Stream(EVIL, b"12345678"), rows, now_ms())]))

    with receiving() as receiver, running_page(made.url, "--rules", str(rules), "--webhook", receiver.url) as page:
        assert receiver.until(1)[0]["standing"] == []
        told(1, 990)
        (raised,) = receiver.until(2)[1]["alerts"]
        told(2, 500)
        (cleared,) = receiver.until(3)[2]["alerts"]
        told(3, 990)
        receiver.until(4)
        assert page.end() == (143, "")
        with running_page(made.url, "--rules", str(rules), "--webhook", receiver.url):
            again = receiver.until(5)[4]
        with running_page(made.url, "--fleet", "north", "--rules", str(rules), "--webhook", receiver.url):
            other = receiver.until(6)[5]
    assert again["page"] == receiver.until(1)[0]["page"] != other["page"], "whose alarms stand"
    assert ([one["id"] for one in again["alerts"]], again["standing"]) == ([raised["id"]], [raised["id"]])
    assert (raised["device"], raised["reason"]) == ("evil-1", "99.0 C; the limit is 95 C")
    assert (cleared["id"], cleared["state"]) == (raised["id"], "cleared")
    made.close()


def test_for_other_machines_it_asks_for_the_token_that_it_made(
    chrome: Chrome, fleet: Simulated, tmp_path: Path
) -> None:
    token_file = tmp_path / "page.token"
    with running_page(fleet.url, "--host", "0.0.0.0", "--token-file", str(token_file)) as page:
        token = token_file.read_text().strip()
        with httpx.Client(base_url=page.url, follow_redirects=True) as client:
            assert client.get("life/north/gate-07").status_code == 401
            assert "A token, please" in client.get("", headers={"accept": "text/html"}).text
            assert client.post("login", data={"token": "x"}).url.query == b"wrong=1"
            assert client.post("login", data={"token": token}).status_code == 200
            assert client.get("life/north/gate-07").json()["device"] == "gate-07"
            assert client.get("life/north/gate-07", headers={"host": "evil.example.com"}).status_code == 421
            assert client.get("life/north/nobody").status_code == 404
            shown = {"authorization": f"Bearer {token}"}
            scrape = httpx.get(page.url + "metrics", headers=shown)
            assert "edgeglm_fleet_boards 41.0" in scrape.text
            assert httpx.get(page.url + "metrics").status_code == 401
            assert client.get("life/north/gate-07?span=9y").status_code == 404
        chrome.get(page.url)
        until(chrome, "location.pathname === '/login'")
        chrome.get(f"{page.url}board/north/gate-07")
        until(chrome, "location.pathname === '/login'")
        assert not chrome.find_element(By.ID, "wrong").is_displayed()
        chrome.find_element(By.ID, "token").send_keys("not this one\n")
        until(chrome, "location.search.startsWith('?wrong') && !document.getElementById('wrong').hidden")
        chrome.find_element(By.ID, "token").send_keys(f"{token}\n")
        until(chrome, "location.pathname === '/board/north/gate-07'")
        chrome.delete_all_cookies()
        chrome.get(f"{page.url}login#{token}")  # the link that a terminal is shown
        until(chrome, "document.querySelectorAll('#boards tbody tr').length === 41")
        assert token not in chrome.current_url
        assert chrome.execute_script("return document.cookie") == ""
        _, said = page.end()
        assert token not in said, "what is no terminal is a log"
        assert str(token_file) in "".join(said.split())


def test_the_link_with_the_token_is_shown_on_the_terminal_of_whoever_starts_it(
    tmp_path: Path,
) -> None:
    token_file = tmp_path / "fleet" / "page.token"  # beside a store that is not there yet
    for times in (1, 0):  # when it is made, and never again
        ours, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 400, 0, 0))
        with running_page(f"sqlite:///{tmp_path}/fleet/fleet.db", "--name", "example.org", stderr=terminal) as page:
            os.close(terminal)
            assert page.end()[0] == 143
            said = os.read(ours, 65_536).decode()
            os.close(ours)
        assert said.count(f"login#{token_file.read_text().strip()}") == times
        assert str(token_file) in said
        assert token_file.parent.stat().st_mode & 0o777 == 0o700
        assert (token_file.parent / ".gitignore").read_text() == "*\n"

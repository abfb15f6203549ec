"""TLS: who may speak to whom, and what is said of those who may not."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from edgeglm_agent.outbox import EVENTS, METRICS
from edgeglm_agent.settings.types import Tls

from tests.support.agent.broker import ACL, Broker
from tests.support.agent.certificates import Authority
from tests.support.agent.collector import Collector
from tests.support.agent.uplinks import Board, event, window

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def broker(tmp_path: Path, authority: Authority) -> Iterator[Broker]:
    """One that asks for certificates, and limits each to the topics of its name."""
    certificate = authority.issue("broker", hosts=("127.0.0.1", "localhost"))
    with Broker(tmp_path / "broker", certificate=certificate, clients=authority.pem) as one:
        yield one


def test_the_access_list_of_the_documentation_is_the_one_that_is_tested() -> None:
    boards = ACL[ACL.index("pattern") :]
    assert f"```text\n{boards}```" in (Path(__file__).parents[3] / "docs" / "agent" / "telemetry.md").read_text()


def trusting(authority: Authority, certificate: tuple[Path, Path] | None, **more: str) -> Tls:
    own = (str(certificate[0]), str(certificate[1])) if certificate else (None, None)
    return Tls(ca=str(authority.pem), certificate=own[0], key=own[1], **more)


def says(board: Board) -> str:
    """Wait until it says why it is not connected."""
    board.until(lambda: board.uplink.status()["why"] not in {"", "not started"})
    return str(board.uplink.status()["why"])


def refused(why: str) -> bool:
    """Whether it is said that the broker refuses: with an alert, where that came before the end of the connection."""
    return "certificate" in why or "ended it without a word" in why


def test_rows_arrive_over_mutual_tls(tmp_path: Path, broker: Broker, authority: Authority) -> None:
    with Collector(broker.port, tmp_path / "rows.db", tls=(authority.pem, *authority.issue("collector")), lazy=0):
        board = Board(tmp_path / "board", broker.port, tls=trusting(authority, authority.issue("board-1")))
        board.outbox.put_many([(EVENTS, event()), *((METRICS, window(n)) for n in range(50))])
        board.until(board.delivered)
        assert board.uplink.counts["connections"] == 1
        board.close()


def test_a_board_whose_certificate_expired_is_refused_and_says_so(
    tmp_path: Path, broker: Broker, authority: Authority
) -> None:
    expired = authority.issue("board-1", lasts=timedelta(hours=-1), file="expired")
    board = Board(tmp_path / "board", broker.port, tls=trusting(authority, expired))
    assert refused(says(board))
    assert not board.connected
    board.close()


def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path, broker: Broker, authority: Authority) -> None:
    stranger = Authority(tmp_path, "stranger").issue("board-1")
    board = Board(tmp_path / "board", broker.port, tls=trusting(authority, stranger))
    assert refused(says(board))
    board.until(lambda: board.uplink._attempts.failures > 2)
    assert board.uplink.counts.get("connections", 0) == 0
    board.close()


def test_without_a_certificate_there_is_no_way_in(tmp_path: Path, broker: Broker, authority: Authority) -> None:
    board = Board(tmp_path / "board", broker.port, tls=trusting(authority, None))
    assert refused(says(board))
    board.until(lambda: board.uplink._attempts.failures > 2)
    assert board.uplink.counts.get("connections", 0) == 0
    board.close()


def test_another_boards_certificate_opens_none_of_this_boards_topics(
    tmp_path: Path, broker: Broker, authority: Authority
) -> None:
    with Collector(
        broker.port, tmp_path / "rows.db", tls=(authority.pem, *authority.issue("collector")), lazy=0
    ) as collector:
        board = Board(tmp_path / "board", broker.port, tls=trusting(authority, authority.issue("board-2")))
        board.outbox.put(METRICS, window())
        board.until(lambda: board.uplink.status()["rejected_rows"] == 1)
        time.sleep(0.3)
        assert collector.states == {}, "the birth of a board that it is not"
        assert collector.store.known == {}
        assert board.outbox.waiting == {"Window": 0, "Gap": 1}
        attempts = board.uplink.counts["connections"]
        time.sleep(0.1)
        board.turn()
        assert board.uplink.counts["connections"] - attempts < 5, "a loop of refusals"
        board.close()


def test_a_broker_of_an_unknown_authority_is_not_spoken_to(tmp_path: Path, authority: Authority) -> None:
    certificate = Authority(tmp_path, "stranger").issue("broker", hosts=("127.0.0.1",))
    with Broker(tmp_path / "broker", certificate=certificate) as broker:
        board = Board(tmp_path / "board", broker.port, tls=trusting(authority, None))
        assert "does not hold the authority" in says(board)
        assert board.uplink.counts.get("connections", 0) == 0
        board.close()


def test_a_broker_whose_certificate_expired_is_not_spoken_to(tmp_path: Path, authority: Authority) -> None:
    certificate = authority.issue("broker", hosts=("127.0.0.1",), lasts=timedelta(hours=-1), file="old-broker")
    with Broker(tmp_path / "broker", certificate=certificate) as broker:
        board = Board(tmp_path / "board", broker.port, tls=trusting(authority, None))
        assert "has expired, or the clock is wrong" in says(board)
        board.close()


def test_attempts_that_are_refused_are_counted_and_become_rare_when_they_have_used_up_the_budget(
    tmp_path: Path, authority: Authority
) -> None:
    certificate = authority.issue("broker", hosts=("127.0.0.1",), lasts=timedelta(hours=-1), file="late-broker")
    with Broker(tmp_path / "broker", certificate=certificate) as broker:
        board = Board(tmp_path / "board", broker.port, tls=trusting(authority, None), daily_bytes=40_000)
        board.outbox.put(EVENTS, event())
        board.until(lambda: (board.uplink._attempts.at or 0.0) - time.monotonic() > 100)
        spent = board.uplink.status()["bytes_total"]
        # the bucket of 5,000 and as much again, less than another attempt takes; attempts differ by a packet or two
        assert 6_000 < spent <= 10_500
        board.close()


def test_the_brokers_name_is_checked_and_may_differ_from_its_host(tmp_path: Path, authority: Authority) -> None:
    certificate = authority.issue("mqtt.example.org", hosts=("mqtt.example.org",))
    with Broker(tmp_path / "broker", certificate=certificate) as broker:
        board = Board(tmp_path / "a", broker.port, tls=trusting(authority, None))
        assert "mqtt.tls.server_name" in says(board)
        board.close()
        board = Board(tmp_path / "b", broker.port, tls=trusting(authority, None, server_name="mqtt.example.org"))
        board.until(lambda: board.connected)
        board.close()


@pytest.mark.parametrize(
    ("field", "said"), [("ca", "mqtt.tls.ca"), ("certificate", "mqtt.tls.certificate"), ("key", "mqtt.tls.certificate")]
)
def test_a_file_that_is_missing_is_named(tmp_path: Path, authority: Authority, field: str, said: str) -> None:
    certificate = authority.issue("board-1")
    files = {"ca": str(authority.pem), "certificate": str(certificate[0]), "key": str(certificate[1])}
    with Broker(tmp_path / "broker", certificate=authority.issue("b", hosts=("127.0.0.1",))) as broker:
        board = Board(tmp_path / "board", broker.port, tls=Tls(**files | {field: str(tmp_path / "none.pem")}))
        assert said in says(board)
        board.close()


def test_a_port_without_tls_is_named(tmp_path: Path, authority: Authority) -> None:
    with Broker(tmp_path / "broker") as broker:
        board = Board(tmp_path / "board", broker.port, tls=trusting(authority, None))
        says(board)
        board.until(lambda: board.uplink._attempts.failures > 2)
        assert board.uplink.counts.get("connections", 0) == 0
        board.close()

"""What a broker drops for a collector that is away is found by trying it: real brokers, lossy and not."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from edgeglm.fleet.addresses import parse_broker
from edgeglm.fleet.collector import broker_trial
from edgeglm.fleet.collector.broker_trial import MESSAGES, Kept, try_broker
from edgeglm.fleet.collector.shards import parse_part
from edgeglm.fleet.packets import acknowledgements
from tests.support.agent.broker import Broker
from tests.support.fleet.broker import running_broker
from tests.support.fleet.collector import running_collector

NAMED = "edgeglm-collector-00-ff-0123456789ab"
DEFAULTS = ("max_queued_messages 1000", "max_inflight_messages 20")  # mosquitto's own


def tried(url: str) -> Kept:
    return asyncio.run(try_broker(parse_broker(url), parse_part("00-ff", None), client_id=NAMED))


def test_a_collector_warns_of_a_broker_with_default_settings(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", lines=DEFAULTS) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        with running_collector(tmp_path / "fleet.db", url) as collector:
            collector.until_said("drops what waits")
            collector.until_said("lets only 20 messages be under way")
            said = " ".join(collector.log().split())
            assert f"of {MESSAGES} messages that it had taken, it gave 1000 to one that came back" in said
            assert "max_queued_messages 0" in said
        assert tried(url) == Kept(1000, 20)  # again, with what the last one has left


@pytest.mark.parametrize("after", [1, 200])
def test_a_collector_that_stops_while_messages_come_writes_to_no_connection_that_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, after: int
) -> None:
    counted = 0

    async def stopped(url: str) -> None:
        trial = asyncio.ensure_future(try_broker(parse_broker(url), parse_part("00-ff", None), client_id=NAMED))

        def acknowledged(message_ids: list[int]) -> bytes:
            nonlocal counted
            counted += bool(counted) or len(message_ids) > 1  # from those that were held back on
            if counted == after + 1:
                trial.cancel()
            return acknowledgements(message_ids)

        monkeypatch.setattr(broker_trial, "acknowledgements", acknowledged)
        with contextlib.suppress(asyncio.CancelledError):
            await trial

    with Broker(tmp_path / "broker", lines=("max_queued_messages 0", "max_inflight_messages 300")) as broker:
        asyncio.run(stopped(f"mqtt://127.0.0.1:{broker.port}"))
    assert counted > after
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_the_broker_sees_each_of_its_clients_leave_before_the_next_of_that_name_comes(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", lines=("max_queued_messages 0", "max_inflight_messages 2000")) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        assert tried(url).arrived == MESSAGES
        log = (tmp_path / "broker" / "log").read_text()
        assert log.count(f"as {NAMED}-probe ") == 4
        assert "already connected" not in log


@pytest.mark.parametrize(
    "options", [(), ("--tls",), ("--broker-program", "nats"), ("--broker-program", "nats", "--tls")]
)
def test_our_own_brokers_keep_everything(tmp_path: Path, options: tuple[str, ...]) -> None:
    data = tmp_path / "broker"
    with running_broker(data, *options) as broker:
        files = data / "tls"
        shown = f"?ca={files}/fleet-ca.pem&certificate={files}/collector-local.pem&key={files}/collector-local.key"
        kept = tried(broker.address + (shown if "--tls" in options else ""))
        assert kept.arrived == MESSAGES
        assert kept.under_way >= 1000


def test_where_rights_do_not_let_it_be_tried_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic readwrite edgeglm/v1/#\ntopic deny edgeglm/v1/+/+/+/probe\n")
    (tmp_path / "acl").chmod(0o600)
    with Broker(tmp_path / "broker", lines=(f"acl_file {tmp_path / 'acl'}",)) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        with running_collector(tmp_path / "fleet.db", url) as collector:
            collector.until_said("could not be tried: nothing comes of what is sent to edgeglm/v1/edgeglm-probe/")
            assert "warning" not in collector.log()

"""Nonsense from the broker's side: counted, never obeyed, and nothing crashes."""

from __future__ import annotations

import random
import socket
import threading
import time
from typing import TYPE_CHECKING

from edgeglm_agent.outbox import METRICS
from edgeglm_agent.uplink import Timing
from edgeglm_agent.uplink.reports import Message
from edgeglm_agent.wire.commands import Command, encode
from edgeglm_agent.wire.telemetry import encode_ack, pack_ranges
from edgeglm_agent.wire.topics import OPS, Topics

from tests.support.agent.uplinks import Board, window
from tests.support.mangle import mangle

if TYPE_CHECKING:
    from pathlib import Path

TOPICS = Topics("default", "board-1")


def test_malformed_acknowledgements_and_commands_are_counted_and_change_nothing(tmp_path: Path) -> None:
    count = 100_000
    chance = random.Random(7)
    board = Board(tmp_path / "board", 9)
    board.outbox.put_many([(METRICS, window()) for _ in range(50)])
    board.uplink._attempts.at = None  # what comes is put in by hand: the network would be the slow part
    far = int(time.time() * 1000) + 60_000
    for number in range(count):
        ack = encode_ack(board.outbox.epoch, chance.randrange(60), pack_ranges([chance.randrange(90)]), now_ms=1)
        asked = encode(
            Command(1, f"c-{number}", chance.choice(["board-1", "other"]), far, {"slot": "main", "count": 3})
        )
        topic, data = chance.choice(
            [
                (TOPICS.ack, mangle(ack, chance)),
                (TOPICS.ack, chance.randbytes(chance.randrange(60))),
                (TOPICS.command(chance.choice([*OPS, "reboot", "", "a/b"])), mangle(asked, chance)),
                (TOPICS.command("sample"), chance.randbytes(chance.randrange(60))),
                (chance.choice(["", "x", TOPICS.state, TOPICS.prefix, TOPICS.command("ping")[:-1]]), asked),
            ]
        )
        board.uplink._link.reports.append(Message(topic, data, chance.random() < 0.1))
        if number % 500 == 0:
            board.turn(0.0)
    board.turn(0.0)
    assert sum(board.uplink.counts.values()) - board.uplink.counts["replies-dropped"] == count, board.uplink.counts
    assert len(board.orders) == board.uplink.counts.get("commands", 0) < count / 20  # mangled where it does not matter
    assert board.outbox.waiting == {"Window": 50}, "rows that were never sent"
    board.close()


def test_a_broker_that_speaks_nonsense_is_left_and_tried_again(tmp_path: Path) -> None:
    chance = random.Random(11)
    server = socket.create_server(("127.0.0.1", 0))
    connections = 0
    accepted = {"5": bytes.fromhex("2003000000"), "3.1.1": bytes.fromhex("20020000")}
    good = bytes.fromhex("300a0005612f622f630078797a")  # a publish

    def serve() -> None:
        nonlocal connections
        while connections < 150:
            peer, _ = server.accept()
            connections += 1
            with peer:
                peer.settimeout(5)
                try:
                    first = peer.recv(4096)
                    version = "5" if first[first.find(b"MQTT") + 4] == 5 else "3.1.1"
                    if chance.random() < 0.8:
                        peer.sendall(accepted[version])
                    kind = chance.choice([0x20, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0])
                    body = chance.randbytes(chance.randrange(40))
                    packet = bytes([kind, len(body)]) + body
                    peer.sendall(
                        chance.choice([packet, mangle(good, chance), chance.randbytes(60), b"\x30\xff\xff\xff\x7f"])
                    )
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(4096):
                        pass
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    board = Board(
        tmp_path / "board", server.getsockname()[1], timing=Timing(first_retry_s=0.001, longest_retry_s=0.005)
    )
    board.outbox.put_many([(METRICS, window()) for _ in range(5)])
    board.until(lambda: connections >= 150)
    assert sum(board.outbox.waiting.values()) >= 5, "nothing was acknowledged"
    assert board.uplink._link._thread.is_alive()
    board.close()
    server.close()

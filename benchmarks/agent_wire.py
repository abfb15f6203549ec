"""What an agent costs on the network in a day at windows of 300 s: TLS 1.3 with certificates of both sides, over TCP/IP.

A day passes 300 times as fast: a window each second, and the keepalive, the time that the collector may take for an
acknowledgement and the budget are scaled alike. Every packet between board and broker is counted where it passes (a
packet socket on the loopback; needs root), with its IP and TCP headers, and those that a link of 1,500 bytes would add.
A day holds the first connection, one that is lost and made again, the birth, 288 windows a slot, and four events.
Bytes and packets are those of the day; then the last acknowledgements are waited for, and what arrived is looked at.
"""

from __future__ import annotations

import random
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from math import ceil
from pathlib import Path

from common import WORK, write_result

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgeglm_agent.outbox import EVENTS, METRICS
from edgeglm_agent.settings.types import Tls
from edgeglm_agent.uplink import Timing
from edgeglm_agent.wire.commands import SlotState
from edgeglm_agent.wire.sketch import Sketch, pack_numbers
from edgeglm_agent.wire.telemetry import BoardReading, Drift, Event, Window
from msgspec.structs import replace

SUPPORT = Path(__file__).resolve().parents[1] / "tests" / "support" / "agent"
sys.path.insert(0, str(SUPPORT))
from broker import Broker  # noqa: E402 - a program beside the tests
from certificates import Authority  # noqa: E402
from collector import Collector  # noqa: E402
from relay import Relay  # noqa: E402
from uplinks import Board  # noqa: E402

SCALE = 300
WINDOW_S = 300
WINDOWS = 86_400 // WINDOW_S
DAILY_BYTES = 200_000
MTU_PAYLOAD = 1448  # of TCP, in a packet of 1,500 bytes with timestamps
HEADERS = 52  # IP 20, TCP 20, timestamps 12
DAYS = {  # name -> MQTT, slots, inferences a second, windows in a message
    "one slot, MQTT 5": ("5", 1, 1, 1),
    "one slot, two windows in a message": ("5", 1, 1, 2),
    "one slot, MQTT 3.1.1": ("3.1.1", 1, 1, 1),
    "one slot, 30 inferences a second": ("5", 1, 30, 1),
    "three slots": ("5", 3, 1, 1),
    "three slots, two windows in a message": ("5", 3, 1, 2),
}


class Sniffer(threading.Thread):
    """Counts the bytes of IP packets from and to ports of the loopback."""

    def __init__(self, ports: set[int]) -> None:
        super().__init__(daemon=True)
        self.bytes: Counter[int] = Counter()
        self.packets: Counter[int] = Counter()
        self._ports = ports
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.ntohs(0x0003))
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            try:
                packet, address = self._socket.recvfrom(128)
            except TimeoutError:
                continue
            if address[2] == socket.PACKET_OUTGOING or packet[9] != socket.IPPROTO_TCP:
                continue  # the loopback shows each packet twice
            header = (packet[0] & 15) * 4
            ports = {int.from_bytes(packet[at : at + 2]) for at in (header, header + 2)} & self._ports
            for port in ports:
                length = int.from_bytes(packet[2:4])
                more = max(0, ceil((length - HEADERS) / MTU_PAYLOAD) - 1)
                self.bytes[port] += length + more * HEADERS
                self.packets[port] += 1 + more


def has_event(number: int, windows: int) -> bool:
    """Return whether an event comes with a window of a day of so many: with four of them, or all of very few."""
    quarter = max(1, windows // 4)
    return number % quarter == min(5, quarter - 1)


def a_window(number: int, slot: str, rate: int, chance: random.Random) -> Window:
    """Return what a classifier of ten classes says of five minutes on a Raspberry Pi."""
    latency, total = Sketch(), Sketch()
    for _ in range(rate * WINDOW_S):
        taken = 12.4 * chance.lognormvariate(0.0, 0.04) * (1.5 if chance.random() < 0.01 else 1.0)
        latency.add(taken)
        total.add(taken * 1.08 + chance.expovariate(2.0))
    inferences = latency.n
    classes = Counter(chance.choices(range(10), weights=range(10, 0, -1), k=inferences))
    confidence = Counter(min(9, int(10 * chance.betavariate(9, 1.2))) for _ in range(inferences))
    start = 1_800_000_000_000 + number * WINDOW_S * 1000
    return Window(
        slot,
        3,
        f"{chance.getrandbits(64):016x}",
        start,
        4_000_000 + number * WINDOW_S * 1000,
        WINDOW_S * 1000,
        clock_synchronised=True,
        inferences=inferences,
        latency_ms=latency.pack(),
        total_ms=total.pack(),
        cpu_permille=chance.randrange(12, 30) * rate,
        rss_kb=61_000 + chance.randrange(4000),
        confidence=pack_numbers(confidence.get(place, 0) for place in range(10)),
        classes=dict(classes),
        drift=(Drift("predicted", 21, 80, inferences), Drift("input.image.mean", 13, 60, inferences)),
        board=BoardReading(
            cpu_permille=chance.randrange(30, 80),
            memory_available_mb=3211,
            disk_free_mb=21_433,
            temperature_decic=chance.randrange(480, 560),
            throttled=0,
            undervoltage=False,
        ),
    )


def a_state(board: Board, slots: int) -> None:
    """Give the board the birth of a Raspberry Pi."""
    facts = {
        "model": "Raspberry Pi 5 Model B Rev 1.0",
        "os": "Debian GNU/Linux 13 (trixie)",
        "kernel": "6.12.47+rpt-rpi-2712",
        "arch": "aarch64",
        "python": "3.13.5",
        "memory_mb": 4046,
    }
    serving = SlotState(
        "serving",
        3,
        "digits-cnn 1.0",
        64 * "a",
        "model.tflite",
        "static-int8",
        "ai-edge-litert 2.3.0",
        "xnnpack",
    )
    names = ["main", "second", "third"][:slots]
    board.state = replace(
        board.state,
        agent="0.1.0",
        epoch=board.outbox.epoch.hex(),
        window_s=WINDOW_S,
        clock_synchronised=True,
        board=facts,
        slots=dict.fromkeys(names, serving),
    )


class Day:
    """One board and its day."""

    def __init__(self, name: str, relay: Relay, folder: Path, authority: Authority, windows: int) -> None:
        self.name = name
        self.version, self.slots, self.rate, at_once = DAYS[name]
        self.relay, self.windows = relay, windows
        self.chance = random.Random(name)
        device = "rpi5-" + "".join(letter for letter in name if letter.isalnum())[:24]
        certificate, key = authority.issue(device)
        self.board = Board(
            folder / device,
            relay.port,
            device=device,
            tls=Tls(ca=str(authority.pem), certificate=str(certificate), key=str(key)),
            version=self.version,
            daily_bytes=DAILY_BYTES,
            window_s=WINDOW_S,
            windows_at_once=at_once,
            keepalive_s=600 * at_once // SCALE,
            # beyond what the collector may take: as much real time as a board has, not a three-hundredth of it
            timing=Timing(grace_s=30.0 * SCALE, taken_s=60.0 * SCALE),
        )
        a_state(self.board, self.slots)
        self.board.uplink.start(0.0)
        self.merged = self.events = 0

    def turn(self, now: float) -> None:
        self.board.uplink.poll(now)

    def counted(self, sniffer: Sniffer) -> dict[str, int]:
        """Return what has passed so far, and what the agent itself counts."""
        port = self.relay.port
        own = self.board.uplink.status()["bytes_total"]
        return {"bytes": sniffer.bytes[port], "packets": sniffer.packets[port], "own_count": own}

    def window_ends(self, number: int) -> None:
        """Write what a window's end brings."""
        names = ["main", "second", "third"][: self.slots]
        self.board.outbox.put_many([(METRICS, a_window(number, name, self.rate, self.chance)) for name in names])
        if has_event(number, self.windows):
            at = 1_800_000_000_000 + number * WINDOW_S * 1000
            detail = {"temperature_c": 81.5, "bits": 8}
            event = Event("throttled", "", f"{self.chance.getrandbits(64):016x}", at, at, True, "warning", detail)
            self.board.outbox.put(EVENTS, event)
        if number == self.windows // 2:
            self.relay.cut()


def main() -> None:
    """Let the days pass beside each other, and write the result; an argument: of how many windows."""
    windows = int(sys.argv[1]) if len(sys.argv) > 1 else WINDOWS
    folder = WORK / "agent-wire"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    authority = Authority(folder)
    certificate = authority.issue("broker", hosts=("127.0.0.1",))
    own = authority.issue("collector")
    relays = {}
    with Broker(folder / "broker", certificate=certificate, clients=authority.pem) as broker:
        collector = Collector(broker.port, folder / "rows.db", tls=(authority.pem, *own), lazy=1 / SCALE)
        for name in DAYS:
            relays[name] = Relay(broker.port)
        sniffer = Sniffer({relay.port for relay in relays.values()})
        sniffer.start()
        with collector:
            for relay in relays.values():
                relay.__enter__()
            days = [Day(name, relay, folder, authority, windows) for name, relay in relays.items()]
            began = time.monotonic()
            written = 0
            counted: list[dict[str, int]] = []
            while (passed := time.monotonic() - began) < windows + 6:  # the last acknowledgements
                for day in days:
                    if written < windows and passed >= written:
                        day.window_ends(written)
                    day.turn(passed * SCALE)
                if written < windows and passed >= written:
                    written += 1
                if passed >= windows and not counted:
                    counted = [day.counted(sniffer) for day in days]  # what follows is of the next day
                time.sleep(0.004)
            figures = []
            for day, of_the_day in zip(days, counted, strict=True):
                status = day.board.uplink.status()
                arrived = rows(folder, day)
                figures.append(
                    {
                        "day": day.name,
                        **of_the_day,
                        "connections": status["counts"]["connections"],
                        "acks": status["counts"]["acks"],
                        "merged_windows": status["merged_windows"],
                        "resent_rows": status["resent_rows"],
                        "waiting": sum(status["waiting"].values()),
                        "lost": status["lost"],
                        "window_bytes": round(sum(map(len, arrived)) / max(1, len(arrived))),
                    }
                )
                print(figures[-1])
            for day in days:
                day.board.close()
            for relay in relays.values():
                relay.__exit__()
            sniffer.stopping = True
    if windows == WINDOWS:
        write_result("agent_wire", windows=windows, scale=SCALE, days=figures)


def rows(folder: Path, day: Day) -> list[bytes]:
    """Return the windows that arrived, as they went."""
    import sqlite3

    with sqlite3.connect(folder / "rows.db") as db:
        found = db.execute("select body from rows where device = ? and kind = 0", (day.board.uplink.device,))
        return [body for (body,) in found]


if __name__ == "__main__":
    main()

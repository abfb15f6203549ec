"""A board behind a bad network: run it in a network namespace of its own, as its root.

``python lossy.py FOLDER``: 2 % of all packets are lost, each way takes 300 ms, and for a while nothing passes at all.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from broker import Broker  # these are beside this program
from collector import Collector
from edgeglm_agent.outbox import EVENTS, METRICS
from msgspec.structs import replace
from relay import Relay
from uplinks import QUICK, Board, event, window

_ROWS = 300


def iptables(*rule: str) -> None:
    subprocess.run(["iptables", *rule], check=True)


def main(folder: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with (
        Broker(folder / "broker") as broker,
        Collector(broker.port, folder / "rows.db", lazy=0.0),
        Relay(broker.port, delay_s=0.3) as relay,
    ):
        for side in ("--dport", "--sport"):
            lost = ("-m", "statistic", "--mode", "random", "--probability", "0.02", "-j", "DROP")
            iptables("-A", "INPUT", "-p", "tcp", side, str(relay.port), *lost)
        timing = replace(QUICK, taken_s=3.0, grace_s=3.0, first_probe_s=2.0)
        board = Board(folder / "board", relay.port, timing=timing)
        board.until(lambda: board.connected)
        for number in range(_ROWS):
            board.outbox.put(*((EVENTS, event()) if number % 10 == 0 else (METRICS, window(number))))
            board.turn(0.02)
            if number == _ROWS // 2:  # the cable is pulled, and put back
                nothing = ("INPUT", "-p", "tcp", "--dport", str(relay.port), "-j", "DROP")
                iptables("-I", *nothing)
                until = time.monotonic() + 5
                while time.monotonic() < until:
                    board.turn(0.1)
                iptables("-D", *nothing)
        board.until(board.delivered, give_up_after_s=100)
        print(board.uplink.status())
        board.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

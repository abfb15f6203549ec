"""``python -m edgeglm_agent.worker --socket PATH --slot NAME``: how the supervisor, or systemd, starts a worker.

With ``--soon`` behind it, it may load its model as soon as it is there, and need not be small while it waits. With
``--told`` alone, socket and slot come by standard input once they are known (see ``supervisor.head_start``).
"""

from __future__ import annotations

import signal
import sys

from edgeglm_agent.worker.run import import_slot, main


def _told() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_slot()
    socket_path, _, slot = sys.stdin.read().partition("\n")
    return main(socket_path, slot, soon=True) if slot else 0


if __name__ == "__main__":
    # by hand: argparse is 0.4 MB that a worker would hold for as long as it runs
    words = sys.argv[1:]
    if words == ["--told"]:
        sys.exit(_told())
    if len(words) not in (4, 5) or words[0:4:2] != ["--socket", "--slot"] or words[4:] not in ([], ["--soon"]):
        sys.exit("usage: python -m edgeglm_agent.worker --socket PATH --slot NAME [--soon]")
    sys.exit(main(words[1], words[3], soon=bool(words[4:])))

"""A real mosquitto on a free port of the loopback: plain, with TLS, or for certificates' owners alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

# what docs/agent/telemetry.md recommends: a board writes and reads below its own name only
ACL = """\
user collector
topic readwrite edgeglm/v1/#

pattern write edgeglm/v1/+/+/%u/state
pattern write edgeglm/v1/+/+/%u/events
pattern write edgeglm/v1/+/+/%u/telemetry
pattern write edgeglm/v1/+/+/%u/results
pattern write edgeglm/v1/+/+/%u/res/+
pattern read edgeglm/v1/+/+/%u/state
pattern read edgeglm/v1/+/+/%u/ack
pattern read edgeglm/v1/+/+/%u/desired
pattern read edgeglm/v1/+/+/%u/cmd/+
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refusing(folder: Path, *topics: str) -> tuple[str, ...]:
    """Return the lines of a broker that lets nobody subscribe to these; its list of rights is in ``folder``.

    An access list says nothing of subscriptions, and drops what comes for them: mosquitto's own plugin refuses them.
    """
    plugins = [*Path("/usr/lib").glob("**/mosquitto_dynamic_security.so")]
    assert plugins, "mosquitto's plugin for dynamic security is not installed: make system"
    role = [{"acltype": "subscribeLiteral", "topic": topic, "allow": False} for topic in topics]
    rights = {
        "defaultACLAccess": dict.fromkeys(
            ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), True
        ),
        "roles": [{"rolename": "board", "acls": role}],
        "groups": [{"groupname": "all", "roles": [{"rolename": "board"}]}],
        "anonymousGroup": "all",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rights.json").write_text(json.dumps(rights))
    return (f"plugin {plugins[0]}", f"plugin_opt_config_file {folder / 'rights.json'}")


class Broker:
    """One mosquitto; ``kill`` and ``start`` it as often as you like, it stays on its port."""

    def __init__(
        self,
        folder: Path,
        *,
        certificate: tuple[Path, Path] | None = None,
        clients: Path | None = None,
        lines: tuple[str, ...] = (),
    ) -> None:
        """Write its configuration.

        Args:
            folder: Its own.
            certificate: Of the broker, and its key: TLS.
            clients: The authority of clients' certificates, which are then required; their names are users.
            lines: Added to the configuration.
        """
        self.port = free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        settings = [
            f"listener {self.port} 127.0.0.1",
            "max_queued_messages 0",
            "max_inflight_messages 1000",
            "persistence false",
            "log_type all",
        ]
        if os.geteuid() == 0:
            settings.append("user root")  # it would give up its rights to read the test's folder
        if certificate:
            settings += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
        if clients:
            (folder / "acl").write_text(ACL)
            settings += [f"cafile {clients}", "require_certificate true", "use_identity_as_username true"]
            settings += [f"acl_file {folder / 'acl'}"]
        else:
            settings.append("allow_anonymous true")
        (folder / "mosquitto.conf").write_text("\n".join([*settings, *lines, ""]))

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        assert program, "mosquitto is not installed: make system"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        give_up = time.monotonic() + 30
        while True:
            assert self._process.poll() is None, f"mosquitto ended: {(self.folder / 'log').read_text()[-2000:]}"
            assert time.monotonic() < give_up
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except OSError:
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it orderly."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

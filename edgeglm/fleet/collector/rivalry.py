"""Connections that a broker ends again and again: perhaps another collector bears the same name."""

from __future__ import annotations

from collections import deque

_WITHIN_S = 600.0
_TIMES = 3


class Ends:
    """When connections ended that had stood."""

    def __init__(self) -> None:
        self._newest = deque[float](maxlen=_TIMES)

    def suspicion(self, now_s: float) -> str:
        """Note that one ended now; return what is asked in the log then, empty where that is seldom.

        Over MQTT 5 a broker may say that another client came under this name; mosquitto 2.0 says nothing.

        Args:
            now_s: By a clock that only goes forward.
        """
        self._newest.append(now_s)
        if len(self._newest) < _TIMES or now_s - self._newest[0] > _WITHIN_S:
            return ""
        return (
            f", {_TIMES} times within {_WITHIN_S / 60:g} minutes: does another collector have the same store and "
            "shards? The two would end each other's connection for ever"
        )

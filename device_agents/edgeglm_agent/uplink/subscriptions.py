"""What this board hears, and what the broker does not let it hear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeglm_agent.uplink.reports import Subscribed
    from edgeglm_agent.wire.telemetry import Severity
    from edgeglm_agent.wire.topics import Topics

REFUSED = 128  # this reason of the broker's, and those above it


class Subscriptions:
    """Topics with their QoS, and the broker's answers.

    Attributes:
        refused: Topics that the broker does not let this board hear, and its reason, 128 and above.
    """

    def __init__(self, topics: Topics, tell: Callable[[str, Severity, dict[str, Any]], None]) -> None:
        self.refused: dict[str, int] = {}
        self._topics = topics
        self._tell = tell

    def wanted(self, inputs: tuple[str, ...], *, own_state: bool) -> tuple[tuple[str, int], ...]:
        """Return what a connection hears; its own state only where that tells something: it costs 2 KB."""
        topics = self._topics
        state = [(topics.state, 0)] if own_state else []
        return ((topics.ack, 0), (topics.commands, 1), *((topic, 1) for topic in inputs), *state)

    def answered(self, report: Subscribed) -> None:
        """Tell once what this board may not hear."""
        for topic, code in report.codes:
            if code < REFUSED:
                self.refused.pop(topic, None)
            elif topic not in self.refused:
                self.refused[topic] = code
                self._tell("subscription-refused", "error", {"topic": topic, "reason": code})

    def refused_names(self) -> tuple[str, ...]:
        """Return what is not heard: what comes on a topic of this board's, or the topic of an input."""
        own = {self._topics.ack: "acknowledgements", self._topics.commands: "commands", self._topics.state: "its state"}
        return tuple(own.get(topic, topic) for topic in self.refused)

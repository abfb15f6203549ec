"""`kind = "mqtt"`: each message on a topic is a sample. The supervisor holds the connection and hands them over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from edgeglm_agent.inputs._base import Arrival, EndOfInput, Input, InputContext, InputError, Source
from edgeglm_agent.needs import PILLOW, Need

if TYPE_CHECKING:
    from edgeglm_agent.ipc import Arrived

_LOOK_S = 0.2  # how soon ``stop`` is seen
_AGENT_TOPICS = "edgeglm/"


class MqttInput(Input, tag="mqtt", frozen=True, kw_only=True):
    """Messages on a topic of the agent's broker, each a sample."""

    topic: Annotated[str, Meta(min_length=1, max_length=16383)]  # may hold + and #, as MQTT has them
    payload: Literal["auto", "json", "npy", "image", "text"] = "auto"  # auto: by its look, or what the model takes
    mode: Literal["auto", "rgb", "grey"] = "auto"  # channels of an image; auto: what the model takes
    most_bytes: Annotated[int, Meta(ge=1, le=64 * 1024 * 1024)] = 8 * 1024 * 1024  # a longer message is refused

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed, where that is sure."""
        return (PILLOW,) if self.payload == "image" else ()

    def check(self) -> None:
        """See ``Input.check``. Raises: InputError: The topic cannot be subscribed to."""
        levels = self.topic.split("/")
        if "\0" in self.topic:
            raise InputError("a topic holds no null character", key="topic")  # MQTT 5, section 4.7.3
        if any("#" in level and (level != "#" or place != len(levels) - 1) for place, level in enumerate(levels)):
            raise InputError("# stands alone in the last level of a topic", key="topic")
        if any("+" in level and level != "+" for level in levels):
            raise InputError("+ stands alone in its level of a topic", key="topic")
        if self.topic.startswith(_AGENT_TOPICS) or levels[0] in ("#", "+"):
            raise InputError(
                f"`{self.topic}` takes in what agents say to their collector", key="topic", hint="name your own topic"
            )

    def open(self, context: InputContext) -> Source:
        """Return the messages as samples. Raises: InputError: The topic cannot be subscribed to."""
        self.check_needs()
        self.check()
        return Messages(self, context)


class Messages:
    """What the supervisor hands over, decoded."""

    def __init__(self, config: MqttInput, context: InputContext) -> None:
        from edgeglm_agent.inputs import decode  # numpy: the supervisor, which reads the settings, goes without

        self._config = config
        self._context = context
        self._decode = decode
        self._mode: Any = context.image_mode if config.mode == "auto" else config.mode
        self._stopped = False

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return the next message. Raises: EndOfInput."""
        end = time.monotonic() + timeout_s
        while True:
            left = end - time.monotonic()
            message = self._context.messages(0.0 if self._stopped else max(0.0, min(left, _LOOK_S)))
            if message is not None:
                return [self._arrival(message)]
            if self._stopped:
                raise EndOfInput("told to stop")
            if left <= 0:
                return []

    def stop(self) -> None:
        """Read what has been handed over, and then no more."""
        self._stopped = True

    def close(self) -> None:
        """Nothing is held: the connection is the supervisor's."""

    def _arrival(self, message: Arrived) -> Arrival:
        at_ns = time.monotonic_ns()
        try:
            sample = self._sample(message.payload)
        except self._decode.DamagedError as error:
            return Arrival(sample=None, name=message.topic, at_ns=at_ns, dropped=message.dropped, fault=str(error))
        return Arrival(sample=sample, name=message.topic, at_ns=at_ns, dropped=message.dropped)

    def _sample(self, payload: bytes) -> Any:
        decode, kind = self._decode, self._config.payload
        if len(payload) > self._config.most_bytes:
            raise decode.DamagedError(f"a message of {len(payload)} bytes; at most {self._config.most_bytes} are read")
        if kind == "auto":
            kind = self._kind(payload)
        if kind == "text":
            return decode.text(payload)
        if kind == "npy":
            return decode.npy(payload)
        if kind == "image":
            return decode.picture(payload, self._mode)
        return decode.json_sample(payload, self._context.input_names, most_values=self._context.most_values)

    def _kind(self, payload: bytes) -> Literal["json", "npy", "image", "text"]:
        if self._context.takes_texts:
            return "text"
        if payload.startswith(self._decode.NPY_MAGIC):
            return "npy"
        return "image" if payload.startswith(self._decode.IMAGE_MAGICS) else "json"

"""Result kind ``mqtt``: answers to the broker, all or a share of them, with a piece of the input where asked for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from edgeglm_agent.needs import PILLOW, Need
from edgeglm_agent.results._base import SinkConfig, SinkError

if TYPE_CHECKING:
    from edgeglm_agent.results._base import Outcome, ResultContext


class MqttResults(SinkConfig, tag="mqtt", frozen=True, kw_only=True):
    """Send answers by way of the outbox, so that none is lost that fits into it; never video."""

    share: Annotated[float, Meta(ge=0, le=1)] = 1.0  # of answers, chosen by trace id: the same ones everywhere
    crop: Literal["none", "detection", "input"] = "none"  # a piece of the input that is sent with the answer
    crop_bytes: Annotated[int, Meta(ge=256, le=262_144)] = 16_384  # at most; what cannot be made that small is left out
    crop_format: Literal["jpeg", "png"] = "jpeg"  # of images

    def needs(self) -> tuple[Need, ...]:
        """Return what has to be installed: an image library for crops around detections."""
        return (PILLOW,) if self.crop == "detection" else ()

    def open(self, context: ResultContext) -> MqttSink:
        """Return the open sink. Raises: SinkError: Crops are asked for, and Pillow is not there."""
        if not all(need.met for need in self.needs()):  # asked for now, not at the first detection
            raise SinkError(f"crops around detections need Pillow: {PILLOW.hint}")
        return MqttSink(self, context)


class MqttSink:
    """Hands answers to the outbox."""

    def __init__(self, settings: MqttResults, context: ResultContext) -> None:
        self._settings = settings
        self._publish = context.publish

    def write(self, outcome: Outcome) -> None:
        """Hand over one answer, or none. Raises: SinkError."""
        settings = self._settings
        if settings.share < 1 and not chosen(outcome.trace_id, settings.share):
            return
        crop = b""
        if settings.crop != "none":
            from edgeglm_agent.results.crops import crop_of

            crop = crop_of(
                outcome.arrival.sample,
                outcome.answer if settings.crop == "detection" else None,
                most_bytes=settings.crop_bytes,
                form=settings.crop_format,
            )
        self._publish(outcome, crop)

    def close(self) -> None:
        """Do nothing: the outbox keeps what it was given."""


def chosen(trace_id: str, share: float) -> bool:
    """Tell whether an answer is among the share of all that is sent: a function of its trace id alone."""
    digest = hashlib.blake2b(trace_id.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") < share * 2**48

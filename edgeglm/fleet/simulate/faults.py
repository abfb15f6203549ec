"""What can go wrong with simulated boards: each a struct, and a share of the devices that it befalls."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(gt=0, le=1)]
Seconds = Annotated[float, Meta(gt=0)]
Feature = Annotated[str, Meta(pattern=r"^((input|output)\.[A-Za-z0-9._-]+|predicted)\Z")]
Reason = Literal["quota", "corrupt", "rejected", "disk"]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=63)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom it befalls, and when."""

    kind: ClassVar[str] = ""

    share: Share  # of the devices; at least one of them
    after_s: Annotated[float, Meta(ge=0)] = 0.0  # when it begins, from the start of the run
    for_s: Seconds | None = None  # how long it lasts; null: to the end

    def active(self, at_s: float) -> bool:
        """Return whether it holds at this time of the run."""
        return self.after_s <= at_s and (self.for_s is None or at_s < self.after_s + self.for_s)


class Silent(Fault, frozen=True, kw_only=True):
    """The device says nothing: cut off, without goodbye; when it comes back it says all that it kept."""

    kind = "silent"

    connected: bool = False  # it holds its connection, as a board whose agent hangs


class Drifting(Fault, frozen=True, kw_only=True):
    """What comes in is no longer what the model was proved on."""

    kind = "drifting"

    feature: Feature = "input.x"  # input.<name>, output.<name> or predicted
    psi: Annotated[float, Meta(gt=0, le=10)] = 0.6  # population stability index that it comes to; 0.25 is the limit
    over_s: Annotated[float, Meta(ge=0)] = 0.0  # how long it takes to come to that


class Erroring(Fault, frozen=True, kw_only=True):
    """Some samples get no answer."""

    kind = "erroring"

    error: Name = "run"  # kind of the errors: input, run, non-finite, post, dropped, sink
    rate: Share = 0.05  # of the samples


class Hot(Fault, frozen=True, kw_only=True):
    """The board is hot."""

    kind = "hot"

    temperature_c: Annotated[float, Meta(ge=-40, le=125)] = 82.0


class Throttled(Fault, frozen=True, kw_only=True):
    """The board slows its processor down."""

    kind = "throttled"

    slowness: Annotated[float, Meta(ge=1, le=1000)] = 1.8  # latencies are so many times what they were


class CrashLooping(Fault, frozen=True, kw_only=True):
    """The model's process dies, again and again, until it is quarantined."""

    kind = "crash-looping"

    every_s: Seconds = 30.0
    failures: Annotated[int, Meta(ge=1, le=1000)] = 5  # in a row, before it is quarantined


class UnsetClock(Fault, frozen=True, kw_only=True):
    """The board's clock was never set: it goes on from 1970."""

    kind = "unset-clock"


class ReconnectStorm(Fault, frozen=True, kw_only=True):
    """All of them lose their connection at once, and come back together."""

    kind = "reconnect-storm"

    every_s: Seconds | None = None  # again and again; null: once
    within_s: Annotated[float, Meta(ge=0)] = 1.0  # how long the last of them waits before it comes back


class Duplicating(Fault, frozen=True, kw_only=True):
    """Messages arrive twice."""

    kind = "duplicating"

    rate: Share = 0.1  # of the messages


class Malformed(Fault, frozen=True, kw_only=True):
    """Beside what is right, the device sends what nobody can read."""

    kind = "malformed"

    rate: Share = 0.1  # of the messages are followed by such a one


class Impostor(Fault, frozen=True, kw_only=True):
    """The device publishes on another's topics."""

    kind = "impostor"

    every_s: Seconds = 60.0


class RestoredCard(Fault, frozen=True, kw_only=True):
    """The board's card is put back to what it was: it gives numbers again that it gave before."""

    kind = "restored-card"

    rows: Annotated[int, Meta(ge=1, le=1_000_000)] = 20  # by how many numbers it falls back


class LostAcks(Fault, frozen=True, kw_only=True):
    """Acknowledgements do not arrive, so rows go again."""

    kind = "lost-acks"

    rate: Share = 0.5  # of the acknowledgements


class Losing(Fault, frozen=True, kw_only=True):
    """The device loses rows before they were sent, and says so."""

    kind = "losing"

    every_s: Seconds = 600.0
    rows: Annotated[int, Meta(ge=1, le=100_000)] = 10  # each time
    reason: Reason = "quota"  # as a gap tells it


FAULTS: dict[str, type[Fault]] = {
    kind.kind: kind
    for kind in (
        Silent,
        Drifting,
        Erroring,
        Hot,
        Throttled,
        CrashLooping,
        UnsetClock,
        ReconnectStorm,
        Duplicating,
        Malformed,
        Impostor,
        RestoredCard,
        LostAcks,
        Losing,
    )
}

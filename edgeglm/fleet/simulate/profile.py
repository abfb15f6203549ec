"""What a profile says: which boards there are, what they serve, and what goes wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from edgeglm.fleet.simulate.faults import FAULTS, Fault, Name

if TYPE_CHECKING:
    from collections.abc import Iterator

Prefix = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=55)]
Weight = Annotated[float, Meta(gt=0)]
BoardName = Literal["rpi-zero2w", "rpi4", "rpi5", "jetson-jp6", "jetson-jp7", "x86-64"]
_Conflict = tuple[str, str, str]  # key below this struct, what is wrong, how to mend it


class Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the model takes: a log-normal distribution, by two of its percentiles."""

    p50: Annotated[float, Meta(gt=0)] = 12.0  # milliseconds
    p95: Annotated[float, Meta(gt=0)] = 20.0  # milliseconds

    def problems(self) -> Iterator[_Conflict]:
        """Yield what does not fit together."""
        if self.p95 < self.p50:
            yield "p95", f"{self.p95:g} is below p50, which is {self.p50:g}", "exchange them"


class ModelShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that some slots serve."""

    name: Name  # of the model
    version: Name = "1.0.0"  # of the model
    share: Weight = 1.0  # its weight beside the other models: 3 and 1 are three quarters and one
    per_second: Annotated[float, Meta(gt=0, le=100_000)] = 2.0  # inferences
    latency_ms: Latency = Latency()
    classes: Annotated[int, Meta(ge=0, le=1000)] = 10  # that it tells apart; 0: its answer is no class
    confidence: Annotated[float, Meta(ge=0, le=1)] = 0.9  # of its answers, in the mean


class BoardShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of board that some devices are."""

    board: BoardName  # as a recipe's target
    share: Weight = 1.0  # its weight beside the other boards
    temperature_c: Annotated[float, Meta(ge=-40, le=125)] = 55.0  # around which it stays
    slowness: Annotated[float, Meta(gt=0, le=1000)] = 1.0  # latencies are the model's times this


InFlight = Annotated[int, Meta(ge=1, le=10_000)]
Granted = Annotated[float, Meta(ge=0, le=86_400)]
Slots = Annotated[list[Name], Meta(min_length=1, max_length=16)]
Models = Annotated[list[ModelShare], Meta(min_length=1)]
Boards = Annotated[list[BoardShare], Meta(min_length=1)]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile."""

    version: Literal[1]  # of this format
    fleet: Name = "simulated"  # the second level of every topic
    prefix: Prefix = "sim-"  # devices are called so, with a number behind it
    devices: Annotated[int, Meta(ge=1, le=1_000_000)] = 100  # how many
    seed: Annotated[int, Meta(ge=0)] = 0  # the same seed says the same, run by run
    window_s: Annotated[float, Meta(gt=0, le=86_400)] = 300.0  # each device sends one message in so many seconds
    duration_s: Annotated[float, Meta(gt=0)] | None = None  # of the run; null: until it is stopped
    in_flight: InFlight | None = None  # closed loop: rows that each device keeps on its way; null: one message a window
    ack_within_s: Granted | None = None  # what the collector is granted; null: eight windows, as boards do
    resend_after_s: Annotated[float, Meta(gt=0)] = 30.0  # beyond that, before rows without an acknowledgement go again
    retry_s: Annotated[float, Meta(gt=0)] = 2.0  # before the second attempt to connect; doubled each time, and jittered
    longest_retry_s: Annotated[float, Meta(gt=0)] = 60.0  # that doubling comes to
    connects_per_second: Annotated[float, Meta(gt=0)] = 500.0  # when the run begins
    results_per_window: Annotated[float, Meta(ge=0, le=100)] = 0.0  # answers of the model, in the mean
    slots: Slots = msgspec.field(default_factory=lambda: ["main"])  # of each device
    models: Models = msgspec.field(default_factory=lambda: [ModelShare(name="digits-cnn")])  # what slots serve
    boards: Boards = msgspec.field(default_factory=lambda: [BoardShare(board="rpi5")])  # what devices are
    faults: list[Fault] = []  # what goes wrong with a share of the devices

    def problems(self) -> Iterator[_Conflict]:
        """Yield what does not fit together."""
        for at, slot in enumerate(self.slots):
            if slot in self.slots[:at]:
                yield f"slots[{at}]", f"the slot `{slot}` is there twice", "give each slot a name of its own"
        if self.longest_retry_s < self.retry_s:
            yield "longest_retry_s", f"{self.longest_retry_s:g} is below retry_s, {self.retry_s:g}", "exchange them"
        if self.duration_s is not None:
            for at, fault in enumerate(self.faults):
                if fault.after_s >= self.duration_s:
                    yield (
                        f"faults[{at}].{fault.kind}.after_s",
                        f"it begins after {fault.after_s:g} s, and the run ends after {self.duration_s:g}",
                        "let it begin earlier, or the run end later",
                    )

    def granted_s(self) -> float:
        """Return how long an acknowledgement of the newest window may take."""
        return 8 * self.window_s if self.ack_within_s is None else self.ack_within_s


def to_json(profile: Profile) -> bytes:
    """Return a valid profile as JSON, for another process."""
    plain = msgspec.to_builtins(profile)
    plain["faults"] = [[fault.kind, msgspec.to_builtins(fault)] for fault in profile.faults]
    return msgspec.json.encode(plain)


def from_json(data: bytes) -> Profile:
    """Return the profile that ``to_json`` wrote."""
    plain = msgspec.json.decode(data)
    faults = [msgspec.convert(settings, FAULTS[kind]) for kind, settings in plain.pop("faults")]
    return msgspec.structs.replace(msgspec.convert(plain, Profile), faults=faults)

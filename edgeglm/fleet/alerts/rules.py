"""What a file of rules says: which problems are told, from where on, and of which boards."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from edgeglm.fleet.health import THRESHOLDS, Kind, Thresholds

Seconds = Annotated[float, Meta(ge=0, le=604_800)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=63)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every rule takes."""

    kind: ClassVar[Kind | Literal["nothing-comes"]]
    sets: ClassVar[tuple[str, str] | None] = None  # its own key, and the limit of health that it stands for

    # how long it has to hold before it is told, and to be over before that is told: a window holds until the next comes
    for_s: Seconds = 0.0
    severity: Literal["warning", "error"] = "warning"  # for whoever is told
    fleet: Name | None = None  # only of this one; null: of all
    model: str | None = None  # only of slots whose model's name begins so; null: of all

    def limits(self) -> dict[str, float]:
        """Return the limits of health that it sets."""
        return {self.sets[1]: getattr(self, self.sets[0])} if self.sets else {}


class Silent(Rule, frozen=True, kw_only=True):
    """No window came, or the board's last will says that it is offline."""

    kind = "silent"
    sets = ("windows", "silent_windows")

    windows: Annotated[int, Meta(ge=1, le=1000)] = THRESHOLDS.silent_windows  # of the board's own length


class NothingComes(Rule, frozen=True, kw_only=True):
    """Boards stopped all at once: collector or broker is down. While it holds, no board is told to be silent."""

    kind = "nothing-comes"


class Down(Rule, frozen=True, kw_only=True):
    """A slot is quarantined or refused, or its worker failed again and again."""

    kind = "down"
    sets = ("crashes", "crashes")

    crashes: Annotated[int, Meta(ge=1, le=1000)] = THRESHOLDS.crashes  # of the worker, in a row


class NoInput(Rule, frozen=True, kw_only=True):
    """A slot's camera, file or connection has gone."""

    kind = "no-input"


class WrongModel(Rule, frozen=True, kw_only=True):
    """A slot runs another manifest than most boards."""

    kind = "wrong-model"


class Erroring(Rule, frozen=True, kw_only=True):
    """Samples got no answer."""

    kind = "erroring"
    sets = ("share", "error_share")

    share: Share = THRESHOLDS.error_share  # of the samples of the newest window
    samples: Annotated[int, Meta(ge=1, le=1_000_000)] = THRESHOLDS.least_samples  # fewer: where most of them failed

    def limits(self) -> dict[str, float]:
        """Return the limits of health that it sets."""
        return super().limits() | {"least_samples": self.samples}


class Throttled(Rule, frozen=True, kw_only=True):
    """Firmware or kernel slowed it down, or its supply sagged."""

    kind = "throttled"


class Hot(Rule, frozen=True, kw_only=True):
    """The hottest zone."""

    kind = "hot"
    sets = ("temperature_c", "temperature_c")

    temperature_c: Annotated[float, Meta(ge=0, le=150)] = THRESHOLDS.temperature_c  # degrees Celsius


class Drifting(Rule, frozen=True, kw_only=True):
    """The board raised drift, and has not cleared it."""

    kind = "drifting"
    sets = ("psi", "drift_psi")

    psi: Annotated[float, Meta(ge=0, le=10)] = THRESHOLDS.drift_psi  # stability index when it was raised


class Slow(Rule, frozen=True, kw_only=True):
    """Latency from input to result."""

    kind = "slow"
    sets = ("p95_ms", "p95_ms")

    p95_ms: Annotated[float, Meta(gt=0)] = THRESHOLDS.p95_ms  # of the newest window


class Busy(Rule, frozen=True, kw_only=True):
    """The board's processors."""

    kind = "busy"
    sets = ("cpu_share", "cpu_share")

    cpu_share: Share = THRESHOLDS.cpu_share  # of all cores


class Gaps(Rule, frozen=True, kw_only=True):
    """Rows are lost for good."""

    kind = "gaps"


class Restored(Rule, frozen=True, kw_only=True):
    """Numbers came again that the board had used before."""

    kind = "restored"


class Clock(Rule, frozen=True, kw_only=True):
    """Its clock is off."""

    kind = "clock"


RULES: dict[str, type[Rule]] = {
    rule.kind: rule
    for rule in (
        NothingComes,
        Silent,
        Down,
        NoInput,
        WrongModel,
        Erroring,
        Throttled,
        Hot,
        Drifting,
        Slow,
        Busy,
        Gaps,
        Restored,
        Clock,
    )
}


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of rules."""

    version: Literal[1]  # of this format
    rules: Annotated[list[Rule], Meta(max_length=100)]  # several of one kind may stand beside each other


def passes(rules: Rules) -> list[tuple[Thresholds, list[tuple[int, Rule]]]]:
    """Return the rules in as few passes over the boards as there are rules of one kind, each with its limits."""
    found: list[tuple[dict[str, float], list[tuple[int, Rule]]]] = []
    for number, rule in enumerate(rules.rules):
        for limits, held in found:
            if all(one.kind != rule.kind for _, one in held):
                limits.update(rule.limits())
                held.append((number, rule))
                break
        else:
            found.append((rule.limits(), [(number, rule)]))
    return [(msgspec.structs.replace(THRESHOLDS, **limits), held) for limits, held in found]

"""Which alarms are raised and which are over. Pure: problems in, changes out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from edgeglm.fleet.alerts.rules import passes
from edgeglm.fleet.health import THRESHOLDS, problems, slot_state
from edgeglm.fleet.plain import plain
from edgeglm.fleet.quiet import quiet
from edgeglm.fleet.store.types import Device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm.fleet.alerts.rules import Rule, Rules
    from edgeglm.fleet.health import HealthProblem, Usual
    from edgeglm.fleet.quiet import Quiet
    from edgeglm.fleet.store.types import DeviceSummary


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that was raised, or is over."""

    id: str  # the same for both, also after a restart: whoever is told twice can know
    state: Literal["raised", "cleared"]
    severity: str
    problem: str
    fleet: str
    device: str  # empty: of no board
    slot: str  # empty: the board itself
    reason: str  # as it was when it was raised
    since_ms: int  # when it was first seen
    at_ms: int


class _Key(NamedTuple):
    rule: int
    device: Device
    slot: str


class _Alarm:
    __slots__ = ("gone_ms", "raised", "reason", "since_ms")

    def __init__(self, since_ms: int, reason: str) -> None:
        self.since_ms, self.reason = since_ms, reason
        self.raised = False
        self.gone_ms: int | None = None


class Alarms:
    """What stands, by a file of rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules.rules
        self._passes = passes(rules)
        self._known: dict[_Key, _Alarm] = {}

    def standing(self) -> dict[tuple[str, str], int]:
        """Return how many alarms are raised, by problem and severity."""
        counts: dict[tuple[str, str], int] = {(rule.kind, rule.severity): 0 for rule in self._rules}
        for key, alarm in self._known.items():
            rule = self._rules[key.rule]
            counts[rule.kind, rule.severity] += alarm.raised
        return counts

    def ids(self) -> list[str]:
        """Return the ids of what stands, or soon may: it holds, for less than its rule's ``for_s`` as yet."""
        return [self._id(key) for key in self._known]

    def judge(
        self,
        summaries: Sequence[DeviceSummary],
        found: Mapping[Device, Sequence[HealthProblem]],
        usual: Mapping[tuple[str, str], Usual],
        nothing: Quiet | None,
        now_ms: int,
    ) -> list[Change]:
        """Return what has changed.

        Args:
            summaries: All boards.
            found: Their problems by the usual limits.
            usual: See ``health.usual_models``.
            nothing: See ``quiet.quiet``, of all of them.
            now_ms: By the clock that summaries are of.
        """
        seen: dict[_Key, str] = {}
        for number, rule in enumerate(self._rules):
            if rule.kind == "nothing-comes":
                told = nothing
                if rule.fleet is not None or rule.model is not None:
                    told = quiet([summary for summary in summaries if _concerns(rule, summary, "")], now_ms)
                if told is not None:
                    seen[_Key(number, Device(rule.fleet or "", ""), "")] = told.reason(now_ms)
        held = bool(seen)
        for limits, rules in self._passes:
            for summary in summaries:
                of_board = found.get(summary.device, ())
                if limits != THRESHOLDS:
                    of_board = problems(summary, now_ms, usual, limits)
                for problem in of_board:
                    for number, rule in rules:
                        key = _Key(number, summary.device, problem.slot)
                        if rule.kind != problem.kind or not _concerns(rule, summary, problem.slot):
                            continue
                        if not (held and problem.kind == "silent" and key not in self._known):
                            seen[key] = problem.reason
        changes = [change for key, reason in seen.items() if (change := self._holds(key, reason, now_ms))]
        over = [key for key in self._known if key not in seen]
        return [*changes, *(change for key in over if (change := self._is_over(key, now_ms)))]

    def _holds(self, key: _Key, reason: str, now_ms: int) -> Change | None:
        alarm = self._known.setdefault(key, _Alarm(now_ms, reason))
        alarm.gone_ms = None
        if alarm.raised or now_ms - alarm.since_ms < self._rules[key.rule].for_s * 1000:
            return None
        alarm.raised, alarm.reason = True, reason
        return self._change(key, alarm, "raised", now_ms)

    def _is_over(self, key: _Key, now_ms: int) -> Change | None:
        alarm = self._known[key]
        alarm.gone_ms = now_ms if alarm.gone_ms is None else alarm.gone_ms
        if alarm.raised and now_ms - alarm.gone_ms < self._rules[key.rule].for_s * 1000:
            return None
        del self._known[key]
        return self._change(key, alarm, "cleared", now_ms) if alarm.raised else None

    def _id(self, key: _Key) -> str:
        named = "\0".join((repr(self._rules[key.rule]), *key.device, key.slot))
        return hashlib.sha256(named.encode(errors="replace")).hexdigest()[:16]

    def _change(self, key: _Key, alarm: _Alarm, state: Literal["raised", "cleared"], now_ms: int) -> Change:
        rule = self._rules[key.rule]
        return Change(
            id=self._id(key),
            state=state,
            severity=rule.severity,
            problem=rule.kind,
            fleet=key.device.fleet,
            device=key.device.name,
            slot=plain(key.slot, 63),
            reason=alarm.reason,
            since_ms=alarm.since_ms,
            at_ms=now_ms,
        )


def _concerns(rule: Rule, summary: DeviceSummary, slot: str) -> bool:
    if rule.fleet not in (None, summary.device.fleet):
        return False
    if rule.model is None:
        return True
    states = summary.state.slots.values() if summary.state else ()
    if slot:
        state = slot_state(summary, slot)
        return state is not None and state.model.startswith(rule.model)
    return any(state.model.startswith(rule.model) for state in states)

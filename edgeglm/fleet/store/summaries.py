"""Boards at a glance, out of any store: three questions, however many boards there are."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from edgeglm_agent.wire.commands import State
from edgeglm_agent.wire.telemetry import Event, Window

from edgeglm.fleet.store import alarms
from edgeglm.fleet.store.bodies import document, unpacked
from edgeglm.fleet.store.types import Device, DeviceSummary, SlotSummary

if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]  # a statement, and what is given with it

_DEVICES = """
select d.id, d.fleet, d.name, d.shard, d.first_seen_ms, d.heard_ms, d.state, d.state_ms,
    s.last_ms, s.rows, s.duplicates, s.taken_back, s.lost_rows, s.lost_at_ms,
    s.taken_back_at_ms, (
        select clock_off_ms from streams where device = d.id and clock_off_ms is not null order by last_ms desc limit 1
    )
from devices d left join (
    select device, max(last_ms) as last_ms, sum(rows) as rows, sum(duplicates) as duplicates,
        sum(taken_back) as taken_back, sum(lost_rows) as lost_rows, max(lost_at_ms) as lost_at_ms,
        max(taken_back_at_ms) as taken_back_at_ms
    from streams {streams} group by device
) s on s.device = d.id {where} order by d.fleet, d.name
"""
_ALARMS = f"""
select l.device, l.slot, e.at_ms, e.stream, e.sequence, e.body from latest l cross join alarm_events e
    on e.device = l.device and e.slot = l.slot and e.at_ms >= coalesce((
        select at_ms from alarm_events where device = l.device and slot = l.slot
        order by at_ms desc limit 1 offset {alarms.NEWEST - 1}
    ), {-(2**62)})
{{where}} order by l.device, l.slot, e.at_ms, e.stream, e.sequence
"""  # noqa: S608 - names of our own
_LATEST = "select device, slot, at_ms, received_ms, body from latest l {where} order by device, slot"


def summaries_of(ask: Ask, fleet: str | None) -> list[DeviceSummary]:
    """Return every board, or every one of a fleet, by fleet and name."""
    where, given = ("where d.fleet = ?", (fleet,)) if fleet is not None else ("", ())
    return _summaries(ask, _DEVICES.format(streams="", where=where), given, "", ())


def summary_of(ask: Ask, device: int) -> DeviceSummary | None:
    """Return one board, by its number in the store."""
    statement = _DEVICES.format(streams="where device = ?", where="where d.id = ?")
    found = _summaries(ask, statement, (device, device), "where l.device = ?", (device,))
    return found[0] if found else None


def _summaries(
    ask: Ask, statement: str, given: tuple[Any, ...], where: str, given_where: tuple[Any, ...]
) -> list[DeviceSummary]:
    told_of = ask(_ALARMS.format(where=where), given_where)
    latest = ask(_LATEST.format(where=where), given_where)
    found = ask(statement, given)  # last: a board that is new has nothing in the others
    devices = {int(row[0]): Device(row[1], row[2]) for row in found}
    stand = {
        (number, slot): alarms.standing(
            alarms.in_order((*row[2:5], unpacked(row[5], Event, devices[number], row[2])) for row in rows)
        )
        for (number, slot), rows in groupby(told_of, key=lambda row: (int(row[0]), str(row[1])))
        if number in devices
    }
    slots = {
        number: {
            slot: SlotSummary(
                slot, at_ms, received_ms, unpacked(body, Window, devices[number], at_ms), stand.get((number, slot), ())
            )
            for _, slot, at_ms, received_ms, body in rows
        }
        for number, rows in groupby(latest, key=lambda row: int(row[0]))
        if number in devices
    }
    return [_summary(row, devices[int(row[0])], slots.get(row[0], {})) for row in found]


def _summary(row: tuple[Any, ...], device: Device, slots: dict[str, SlotSummary]) -> DeviceSummary:
    shard, first_seen_ms, heard_ms, state, state_ms = row[3:8]
    last_ms, rows, duplicates, taken_back, lost_rows, lost_at_ms, taken_back_at_ms, clock_off_ms = row[8:]
    return DeviceSummary(
        device=device,
        shard=shard,
        first_seen_ms=first_seen_ms,
        last_seen_ms=max(heard_ms, last_ms or 0),
        state=None if state is None else document(state, State, device),
        state_ms=state_ms,
        slots=slots,
        lost_rows=int(lost_rows or 0),  # a sum is no integer in PostgreSQL
        lost_at_ms=lost_at_ms or 0,
        duplicates=int(duplicates or 0),
        clock_off_ms=clock_off_ms,
        rows=int(rows or 0),
        taken_back=int(taken_back or 0),
        taken_back_at_ms=taken_back_at_ms or 0,
    )

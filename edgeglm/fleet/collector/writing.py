"""What came, written to the store; what the store stumbles over is put aside, or it would come again for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from edgeglm_agent.wire.topics import Topics

from edgeglm.errors import EnvironmentFailedError
from edgeglm.fleet.store.known import Ranges
from edgeglm.fleet.store.types import Arrivals, Known, Poison

if TYPE_CHECKING:
    from edgeglm.fleet.store.base import StoreWriter
    from edgeglm.fleet.store.types import Committed, IncomingBatch
    from edgeglm.log import Log


def write(store: StoreWriter, arrivals: Arrivals, log: Log) -> Committed:
    """Write it all, or what of it can be written. Raises: StoreError, StorageError: See ``StoreWriter.write``."""
    try:
        return store.write(arrivals)
    except EnvironmentFailedError:
        raise
    except Exception:  # a fault of ours in what a stranger wrote must not end the collector
        sound, whole = _sound(store, arrivals, log)
        done = store.write(sound)
        for batch in whole:  # accounted for, as a row that is put aside: sent again they would fail again
            before = done.known.get(batch.stream, Known(0))
            numbers = Ranges(before.through, before.beyond)
            for row in batch.rows:
                numbers.add(row.sequence, row.sequence)
            done.known[batch.stream] = Known(numbers.through, tuple(numbers.beyond))
        return done


def _sound(store: StoreWriter, arrivals: Arrivals, log: Log) -> tuple[Arrivals, list[IncomingBatch]]:
    """Return what can be written, and batches of which nothing can.

    Of other batches, the rows that cannot are put aside, and the others are kept.
    """
    sound = Arrivals(poison=[*arrivals.poison])
    whole: list[IncomingBatch] = []
    for batch in arrivals.batches:
        mended = _without_rows_that_fail(store, batch, log) if _fault(store, Arrivals(batches=[batch])) else batch
        if mended is not batch and (error := _fault(store, Arrivals(batches=[mended]))):  # whatever rows are in it
            topic = Topics(*batch.stream.device).prefix
            payload = b"".join(bytes(row.body) for row in batch.rows)
            sound.poison.append(Poison(topic, _bug(error, topic, log), payload, batch.received_ms))
            whole.append(batch)
        else:
            sound.batches.append(mended)
    for state in arrivals.states:
        if error := _fault(store, Arrivals(states=[state])):
            topic = Topics(*state.device).state
            sound.poison.append(Poison(topic, _bug(error, topic, log), state.raw, state.received_ms))
        else:
            sound.states.append(state)
    for reply in arrivals.replies:
        if error := _fault(store, Arrivals(replies=[reply])):
            topic = Topics(*reply.device).reply(reply.reply.id)
            sound.poison.append(Poison(topic, _bug(error, topic, log), reply.raw, reply.received_ms))
        else:
            sound.replies.append(reply)
    return sound, whole


def _without_rows_that_fail(store: StoreWriter, batch: IncomingBatch, log: Log) -> IncomingBatch:
    refused: dict[int, str] = {}
    parts = [range(len(batch.rows))]
    while parts:
        part = parts.pop()
        rows = batch.rows[part.start : part.stop]
        error = _fault(store, Arrivals(batches=[msgspec.structs.replace(batch, rows=rows)]))
        if error and len(part) > 1:
            middle = len(part) // 2
            parts += [part[middle:], part[:middle]]
        elif error and part:
            where = f"row {batch.rows[part.start].sequence} of {'/'.join(batch.stream.device)}"
            refused[part.start] = _bug(error, where, log)
    return msgspec.structs.replace(batch, refused=refused)


def _fault(store: StoreWriter, arrivals: Arrivals) -> Exception | None:
    """Return what the store raises at this alone; nothing of it is kept."""
    try:
        store.write(arrivals)
        store.discard()
    except EnvironmentFailedError:
        raise
    except Exception as error:  # as above
        return error
    return None


def _bug(error: Exception, where: str, log: Log) -> str:
    log.warn(f"{where}: a bug of edgeglm: {error!r:.200}; it is put aside")
    return f"a bug of edgeglm: {error!r}"

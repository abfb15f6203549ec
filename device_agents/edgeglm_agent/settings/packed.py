"""A slot's settings on their way from the supervisor to its worker."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeglm_agent.inputs import input_type
from edgeglm_agent.results import result_type
from edgeglm_agent.settings.types import Anomaly, Slot


def pack_slot(slot: Slot) -> bytes:
    """Return the slot as MessagePack; its input and results say their kind."""
    return msgspec.msgpack.encode(slot)


def unpack_slot(data: bytes) -> Slot:
    """Return the slot that ``pack_slot`` packed, which the loader has checked.

    Raises:
        KindError: A kind is not installed here, though it was where the file was read.
    """
    values: dict[str, Any] = msgspec.msgpack.decode(data)
    source, results = values.pop("input"), values.pop("results")
    return Slot(
        input=msgspec.convert(source, input_type(source["kind"])),
        results=[msgspec.convert(result, result_type(result["kind"])) for result in results],
        anomaly=msgspec.convert(values.pop("anomaly"), Anomaly),
        **values,
    )

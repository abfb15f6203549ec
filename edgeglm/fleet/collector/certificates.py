"""Certificates that end soon, told at the start and once a day: where one has ended, nothing comes in any more."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edgeglm_agent.doctor.certificate import CertificateError, read_certificate

from edgeglm.errors import UserError
from edgeglm.trust.ca import ending
from edgeglm.trust.signing import read_certificate as read_ours

if TYPE_CHECKING:
    from edgeglm.fleet.addresses import BrokerAddress
    from edgeglm.log import Log

_DAY_S = 86_400.0
_AGAIN_S = 60.0  # the broker may be away
_PATIENCE_S = 10.0


async def tell_what_ends(address: BrokerAddress, log: Log) -> None:
    """Warn of the collector's own certificate and of the broker's, until cancelled.

    The broker's is looked at on a connection of its own: one that stands still shows the certificate of its first day.
    """
    while address.tls:
        if ends := _own_ends(address):
            log.warn(
                f"the collector's certificate, {address.certificate}, {ends}: then nothing comes in any more; have it "
                "renewed (edgeglm fleet certificate --role collector --renew); the file is read at each connection"
            )
        while (shown := await _broker_ends(address)) is None:
            await asyncio.sleep(_AGAIN_S)
        if shown:
            log.warn(f"the certificate of the broker {address} {shown}: then no board gets through; have it renewed")
        await asyncio.sleep(_DAY_S)


def whose(address: BrokerAddress) -> str:
    """Return whom the collector's own certificate was made for, where our authority says that it was for another."""
    if address.certificate is None:
        return ""
    try:
        holder = read_ours(address.certificate.read_bytes())
    except (OSError, ValueError):  # of another authority: it may be called anything
        return ""
    return "" if holder.role == "collector" else f"{holder.role} {holder.name}"


def _own_ends(address: BrokerAddress) -> str:
    """Return when it ends, where that is soon; what cannot be used is told when it is connected with."""
    if address.certificate is None:
        return ""
    try:
        facts = read_certificate(str(address.certificate), str(address.key or address.certificate))
    except (OSError, CertificateError):
        return ""
    return ending(datetime.fromtimestamp(facts.ends, UTC))


async def _broker_ends(address: BrokerAddress) -> str | None:
    """Return when it ends, where that is soon; None: it shows none now."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=address.tls_context())
    except (OSError, UserError):  # a wait that was too long is an OSError, too
        return None
    said: dict[str, Any] = writer.get_extra_info("peercert") or {}
    writer.close()
    return ending(datetime.fromtimestamp(ssl.cert_time_to_seconds(said["notAfter"]), UTC)) if said else None

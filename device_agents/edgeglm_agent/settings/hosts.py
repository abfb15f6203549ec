"""Names of hosts, as settings give them."""

from __future__ import annotations

import ipaddress


def is_address(host: str) -> bool:
    """Return whether this is an IPv4 or IPv6 address, with or without a zone (RFC 4007, section 11), and no name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True

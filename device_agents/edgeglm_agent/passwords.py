"""Texts without the passwords that stand in them: of addresses, of their queries, and of a pipeline's properties.

What people wrote is not always well formed (a raw ``@`` or ``/`` in a password), so that rather too much is hidden.
"""

from __future__ import annotations

import re

HIDDEN = "***"
# rtsp://user:password@camera; a number with nothing but a path behind it is a port
_ADDRESS = re.compile(r"(?<=//)([^\s/?#:\[]*):(?!\d{1,5}(?:[/?#]|$|\s))(\S+)")
# rtsp://token@camera: who is let in by a name alone, for what is known here
_AUTHORITY = re.compile(r"(?<=//)[^\s/?#]+")
_NAME = r"(?:password|passwd|passphrase|pass|pwd|pw|secret|token|key|authorization)"
_TYPE = r"(?:\(\w{1,20}\))?"  # of a property in GStreamer: user-pw=(string)...
# password=... up to white space or the query's next value (an & with no name behind it is the password's own);
# user-pw="..." and "user-pw=..." up to the closing quote, or, where there is none, to the end
_VALUE = re.compile(
    rf"""(?P<quote>["'])(?P<word>[\w-]{{0,40}}?{_NAME}={_TYPE})(?:(?!(?P=quote)).)*"""
    rf"""|(?P<name>{_NAME}={_TYPE})(?:"(?:\\.|[^"\\])*"?|'[^']*'?|(?:\\.|[^\s&\\]|&(?![\w.%\[\]-]{{1,60}}=))+)""",
    re.IGNORECASE | re.DOTALL,
)


def hidden(text: str) -> str:
    """Return a text without its passwords."""
    text = _AUTHORITY.sub(_without_name, _ADDRESS.sub(_without_password, text))
    return _VALUE.sub(_without_value, text)


def _without_password(found: re.Match[str]) -> str:
    """Cut at the last ``@`` before path's end, query and fragment; at the last of all where those hold the first."""
    user, rest = found.groups()
    authority = re.split(r"[?#]", rest, maxsplit=1)[0]
    ends = authority.rfind("@") if "@" in authority else rest.rfind("@")
    return f"{user}:{HIDDEN}{rest[ends:]}" if ends > 0 else found[0]


def _without_name(found: re.Match[str]) -> str:
    user, _, host = found[0].rpartition("@")
    return f"{HIDDEN}@{host}" if user and ":" not in user else found[0]


def _without_value(found: re.Match[str]) -> str:
    return (found["name"] or found["quote"] + found["word"]) + HIDDEN

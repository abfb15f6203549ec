"""docs/security.md says what the code does: rights, days, ports and the files that hold secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from edgeglm_agent.inputs import input_type
from edgeglm_agent.wire.commands import ARGUMENTS

from edgeglm.errors import UserError
from edgeglm.fleet.broker.rights import COLLECTOR, DEVICE, OPERATOR
from edgeglm.fleet.broker.settings import PLAIN_PORT, TLS_PORT, BrokerSettings, check_settings
from edgeglm.fleet.page.settings import PORT, TOKEN_FILE, PageSettings
from edgeglm.trust.ca import AUTHORITY_DAYS, DAYS, WARN_DAYS
from edgeglm.trust.names import user_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text(encoding="utf-8")


def test_the_table_of_rights_is_that_of_the_broker() -> None:
    rows = ["| role | common name | days | writes | reads |", "|---|---|---|---|---|"]
    for role, rights, whose in (
        ("device", DEVICE, "its own name"),
        ("collector", COLLECTOR, "every board"),
        ("operator", OPERATOR, "every board"),
    ):
        name = "the board's name" if role == "device" else f"`{user_of(role, '')}`"  # type: ignore[arg-type]
        writes, reads = (f"of {whose}: " + ", ".join(f"`{leaf}`" for leaf in some) for some in rights)
        rows.append(f"| `{role}` | {name} | {DAYS[role]} | {writes} | {reads} |")  # type: ignore[index]
    found = re.search(r"<!-- rights -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)
    assert found is not None
    assert found[1].splitlines() == rows


def test_a_broker_without_certificates_listens_for_nobody_else() -> None:
    assert "`broker-exposed`" in PAGE
    with pytest.raises(UserError, match="without TLS everybody") as refused:
        check_settings(BrokerSettings(data=Path("broker"), host="0.0.0.0"))
    assert refused.value.code == "broker-exposed"


def test_ports_days_and_commands_are_those_of_the_code() -> None:
    page = PageSettings(store="")
    http = input_type("http")
    defaults = {name: getattr(http(), name) for name in ("host", "port", "anyone")}
    assert defaults == {"host": "127.0.0.1", "port": 8080, "anyone": False}
    for address in (f"127.0.0.1:{PLAIN_PORT}", f"127.0.0.1:{TLS_PORT}", f"{page.host}:{PORT}", "127.0.0.1:8080"):
        assert address in PAGE
    assert f"`fleet/{TOKEN_FILE}`" in PAGE
    assert not page.needs_token
    assert PageSettings(store="", names=("fleet.example.org",)).needs_token
    assert PageSettings(store="", host="0.0.0.0").needs_token
    assert (AUTHORITY_DAYS, WARN_DAYS) == (3650, 30)
    told = re.search(r"Commands can do no more than (.*?)\. None", PAGE, re.DOTALL)
    assert told is not None
    assert set(re.findall(r"`([a-z]+)`", told[1])) == set(ARGUMENTS)

"""A board tells of its certificate that ends soon: of real certificates, which the agent reads without a library."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from edgeglm_agent.settings.types import Tls
from edgeglm_agent.uplink.budget import DAY_S
from edgeglm_agent.uplink.ending import Ending

from tests.support.agent.certificates import Authority


@pytest.mark.parametrize(("days", "severity"), [(-3, "error"), (12, "warning"), (31, "")])
def test_a_certificate_that_ends_soon_is_told_once_a_day(tmp_path: Path, days: int, severity: str) -> None:
    pem, key = Authority(tmp_path).issue("board-1", lasts=timedelta(days=45))
    told: list[tuple[str, str, object]] = []
    is_right = False
    ending = Ending(
        Tls(certificate=str(pem), key=str(key)),
        lambda name, how, detail: told.append((name, how, detail["days"])),
        synchronised=lambda: is_right,
        wall=lambda: time.time() + (45 - days) * DAY_S - 60,
    )
    ending.look(0.0)
    assert told == [], "the clock is not set yet"
    is_right = True
    for now in (1.0, 60.0, 61.0, DAY_S, DAY_S + 60.0):
        ending.look(now)
    assert told == [("certificate-ends", severity, days)] * 2 if severity else told == []


def test_a_board_without_a_certificate_or_with_a_broken_one_tells_nothing_of_its_end(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("none")
    for tls in (None, Tls(), Tls(certificate=str(tmp_path / "no.pem"), key=str(tmp_path / "gone.key"))):
        Ending(tls, pytest.fail, synchronised=lambda: True, wall=time.time).look(0.0)  # type: ignore[arg-type]

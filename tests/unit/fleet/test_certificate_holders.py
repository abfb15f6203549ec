"""``fleet certificate --list`` and ``--from``: who holds certificates, who needs a new one, and names in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeglm.errors import UserError
from edgeglm.fleet.broker.holders import counts, holders, read_names, render
from edgeglm.fleet.broker.issuing import issue
from edgeglm.trust.ca import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "trust")


def test_who_needs_a_new_one_comes_first_and_each_holder_once(tmp_path: Path, authority: Authority) -> None:
    authority.issue("device", "gate-1")
    authority.issue("device", "gate-2", days=20)
    authority.issue("device", "gate-3", days=0)
    authority.issue("collector", "intake", days=10)
    authority.issue("device", "gate-4", days=5)
    last = authority.issue("device", "gate-4", renew=True).certificate
    authority.issue("device", "gate-5")
    authority.revoke("device", "gate-5")
    authority.issue("device", "gate-6")
    authority.revoke("device", "gate-6")
    authority.issue("device", "gate-6", days=25)  # though it ends before the one that was revoked
    found = holders(tmp_path)
    assert [(each.name, each.state) for each in found.holders] == [
        ("gate-3", "ended"),
        ("intake", "ends-soon"),
        ("gate-2", "ends-soon"),
        ("gate-6", "ends-soon"),
        ("gate-1", "counts"),
        ("gate-4", "counts"),
        ("gate-5", "revoked"),
    ]
    assert found.holders[5].serial == f"{last.serial:x}"
    assert found.holders[5].ends_ms == last.ends.timestamp() * 1000
    assert found.authority_ends_ms == authority.ends.timestamp() * 1000
    assert [each.name for each in holders(tmp_path, "collector").holders] == ["intake"]
    head, first, *_ = render(found.holders, width=None).splitlines()
    assert head.split() == ["NAME", "ROLE", "ENDS", "STATE"]
    assert [first.split()[place] for place in (0, 1, 3)] == ["gate-3", "device", "ended"]
    assert counts(found) == (
        "7 holders, 1 whose certificate has ended, 3 whose certificate ends within 30 days, 1 revoked; "
        f"the authority counts until {authority.ends:%Y-%m-%d}"
    )


def test_a_list_of_an_authority_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        holders(tmp_path / "elsewhere")
    assert caught.value.code == "authority-missing"
    assert [*tmp_path.iterdir()] == []


def test_names_of_a_file_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "boards.txt"
    path.write_bytes(b"\xef\xbb\xbf# the yard\r\n\r\ngate-1\r\n  gate-2  # by the door\r\ngate-1\r\n#gate-3\r\ngate-4")
    assert read_names(path) == {"gate-1": f"{path}:3", "gate-2": f"{path}:4", "gate-4": f"{path}:7"}


@pytest.mark.parametrize("text", [b"", b"# none as yet\n\n", b"\xff\xfe\x00gate-1"])
def test_a_file_without_names_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "boards.txt"
    path.write_bytes(text)
    with pytest.raises(UserError) as caught:
        read_names(path)
    assert caught.value.code == "certificate-names"
    assert caught.value.problems[0].where == str(path)


def refused(tmp_path: Path, places: dict[str, str]) -> list[tuple[str, str]]:
    """Return place and code of all that is wrong with names."""
    folders = {name: tmp_path / "out" / name for name in places}
    with pytest.raises(UserError) as caught:
        [*issue(tmp_path, "device", folders, renew=False, places=places)]
    return [(problem.where, problem.code) for problem in caught.value.problems]


def test_all_that_is_wrong_with_names_is_told_before_any_certificate_is_made(
    tmp_path: Path, authority: Authority
) -> None:
    wrong = {"gate-1": "b.txt:1", "gate 2": "b.txt:2", "a/b": ""}
    assert refused(tmp_path, wrong) == [("b.txt:2", "certificate-name"), ("", "certificate-name")]
    authority.issue("device", "gate-3")
    authority.issue("device", "gate-4")
    held = {"gate-1": "b.txt:1", "gate-3": "b.txt:2", "gate-4": ""}
    assert refused(tmp_path, held) == [("b.txt:2 gate-3", "certificate-exists"), ("gate-4", "certificate-exists")]
    assert refused(tmp_path, {"gate-3": "b.txt:2"}) == [("b.txt:2 gate-3", "certificate-exists")]
    many = refused(tmp_path, {f"gate {number}": f"b.txt:{number}" for number in range(1, 101)})
    assert (len(many), many[19][0]) == (21, "b.txt:20"), "and how many more there are"
    assert len(authority.issued()) == 2
    assert not (tmp_path / "out").exists()

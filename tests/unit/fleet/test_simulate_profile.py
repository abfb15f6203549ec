"""Profiles: what is read, and every fault with its line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeglm.errors import UserError
from edgeglm.fleet.simulate.faults import FAULTS, Drifting, Silent
from edgeglm.fleet.simulate.fleet import Fleet
from edgeglm.fleet.simulate.profile import from_json, to_json
from edgeglm.fleet.simulate.reading import load_profile, parse_profile, shipped_profiles, with_options

GOOD = """\
version: 1
fleet: north
devices: 20
window_s: 10
models:
  - {name: kws, version: 1.2.0, share: 3, latency_ms: {p50: 8, p95: 20}}
  - {name: kws, version: 1.1.0}
boards:
  - {board: rpi5, temperature_c: 60}
faults:
  - silent: {share: 0.1, after_s: 30, for_s: 60}
  - drifting: {share: 0.05, feature: predicted, psi: 0.5}
  - hot: {share: 0.1}
"""


def refused(text: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse_profile(text, "fleet.yaml")
    assert {problem.code for problem in caught.value.problems} == {"profile-invalid"}
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_a_profile_is_read_with_its_defaults() -> None:
    profile = parse_profile(GOOD, "fleet.yaml")
    assert (profile.fleet, profile.devices, profile.window_s, profile.slots) == ("north", 20, 10.0, ["main"])
    assert profile.models[0].latency_ms.p95 == 20
    assert profile.faults[0] == Silent(share=0.1, after_s=30.0, for_s=60.0)
    assert profile.faults[1] == Drifting(share=0.05, feature="predicted", psi=0.5)


def test_a_profile_reaches_another_process_unchanged() -> None:
    profile = load_profile("trouble")
    assert from_json(to_json(profile)) == profile


@pytest.mark.parametrize("name", ["calm", "trouble", "capacity"])
def test_a_shipped_profile_goes_by_its_name(name: str) -> None:
    assert name in shipped_profiles()
    assert load_profile(name).devices >= 200


def test_the_profile_of_troubles_has_every_fault_there_is() -> None:
    assert {fault.kind for fault in load_profile("trouble").faults} == set(FAULTS)


def test_all_faults_of_a_file_are_shown_at_once_each_with_its_line() -> None:
    text = """\
version: 1
devises: 5
window_s: -1
models:
  - {name: kws, latency_ms: {p50: 30, p95: 20}, temperature_c: 5}
boards:
  - {board: rpi6}
faults:
  - silent: {share: 2}
  - drifting: {feature: inputs.x, share: 0.1}
  - loosing: {share: 0.1}
  - hot
"""
    lines = refused(text)
    wrong = [line for line in lines if line.startswith("fleet.yaml:")]
    assert wrong == [
        "fleet.yaml:2: unknown key `devises`",
        "fleet.yaml:3 window_s: -1 is out of range: above 0 and at most 86400",
        "fleet.yaml:5 models[0].latency_ms.p95: 20 is below p50, which is 30",
        "fleet.yaml:5 models[0]: unknown key `temperature_c`",
        "fleet.yaml:7 boards[0].board: unknown value `rpi6`",
        "fleet.yaml:9 faults[0].silent.share: 2 is out of range: above 0 and at most 1",
        "fleet.yaml:10 faults[1].drifting.feature: `inputs.x` has not the form wanted here",
        "fleet.yaml:11 faults[2]: unknown fault `loosing`",
        "fleet.yaml:12 faults[3].hot: missing key `share`",
    ]
    text_of_hints = "\n".join(lines)
    assert "did you mean `devices`?" in text_of_hints
    assert "`temperature_c` belongs in an item of `boards` or in the fault `hot`" in text_of_hints
    assert "did you mean `losing`?" in text_of_hints
    assert "recipe" not in text_of_hints


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("slots: [main, main]", "slots[1]: the slot `main` is there twice", id="slots"),
        pytest.param("retry_s: 90", "longest_retry_s: 60 is below retry_s, 90", id="retry"),
        pytest.param(
            "duration_s: 20", "faults[0].silent.after_s: it begins after 30 s, and the run ends after 20", id="late"
        ),
        pytest.param("fleet: a/b", "fleet: `a/b` has not the form wanted here", id="name"),
        pytest.param('fleet: "a\\n"', "has not the form wanted here", id="newline"),
        pytest.param("fleet: 7", "fleet: expected text, found the integer 7", id="type"),
        pytest.param("seed: 1.5", "seed: expected an integer, found the number 1.5", id="integer"),
        pytest.param("slots: []", "slots: has 0 items: at least 1 and at most 16", id="empty"),
        pytest.param("in_flight: 0", "in_flight: 0 is out of range: at least 1 and at most 10000", id="in flight"),
    ],
)
def test_what_does_not_fit_is_refused(line: str, said: str) -> None:
    key = line.partition(":")[0]
    text = "\n".join(kept for kept in GOOD.splitlines() if not kept.startswith(f"{key}:"))
    assert said in "\n".join(refused(f"{text}\n{line}\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "the file is empty", id="empty"),
        pytest.param("- 1", "a profile is a mapping of keys, this is a list", id="list"),
        pytest.param("version: 1\n\tfleet: x", "not YAML", id="tab"),
        pytest.param("version: 1\n---\nversion: 1", "a profile is one document", id="two"),
        pytest.param("version: 2", "unknown value `2`", id="version"),
        pytest.param("devices: 5", "missing key `version`", id="no version"),
    ],
)
def test_what_is_no_profile_is_refused(text: str, said: str) -> None:
    assert said in "\n".join(refused(text))


def test_a_file_that_is_not_there_names_what_is_shipped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such profile") as caught:
        load_profile("troubles")
    assert caught.value.code == "profile-not-found"
    assert "did you mean `trouble`?" in str(caught.value)
    with pytest.raises(UserError, match="it is a folder"):
        load_profile(str(tmp_path))
    (tmp_path / "bytes.yaml").write_bytes(b"version: 1\nfleet: \xff\n")
    with pytest.raises(UserError, match="not UTF-8: byte 0xff") as caught:
        load_profile(str(tmp_path / "bytes.yaml"))
    assert "bytes.yaml:2" in str(caught.value)


def test_options_stand_above_the_profile() -> None:
    profile = with_options(parse_profile(GOOD, "fleet.yaml"), devices=7, rate=4, in_flight=3, duration_s=5.0, seed=9)
    assert (profile.devices, profile.window_s, profile.in_flight, profile.duration_s, profile.seed) == (
        7,
        0.25,
        3,
        5,
        9,
    )
    assert profile.fleet == "north"


def test_faults_befall_as_many_devices_as_their_share_says_and_no_device_twice() -> None:
    profile = parse_profile(GOOD.replace("devices: 20", "devices: 200"), "fleet.yaml")
    fleet = Fleet(profile, run="r", start_ms=0)
    struck = {index: fleet.faults(index) for index in range(200)}
    assert [sum(fault in faults for faults in struck.values()) for fault in profile.faults] == [20, 10, 20]
    assert max(map(len, struck.values())) == 1
    other = Fleet(msgspec.structs.replace(profile, seed=1), run="r", start_ms=0)
    assert any(other.faults(index) != struck[index] for index in range(200))

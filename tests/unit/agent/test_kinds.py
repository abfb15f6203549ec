from __future__ import annotations

import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec
import pytest
from edgeglm_agent import inputs, results
from edgeglm_agent.inputs import input_type, input_types
from edgeglm_agent.kinds import KindError, all_kinds, imported_kind
from edgeglm_agent.results import result_type
from edgeglm_agent.settings.packed import pack_slot, unpack_slot
from edgeglm_agent.settings.types import Anomaly, InputConfig, ResultConfig, Slot


class Tide(InputConfig, frozen=True, tag="tide"):
    """An input of this test."""

    gauge: str
    every_s: float = 1.0


class Paper(ResultConfig, frozen=True, tag="paper"):
    """A result of this test."""

    tray: int = 1


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tide_of_test", sys.modules[__name__])
    monkeypatch.setitem(inputs.KINDS, "tide", "tide_of_test:Tide")
    monkeypatch.setitem(results.KINDS, "paper", "tide_of_test:Paper")


@pytest.mark.usefixtures("_registered")
def test_a_kind_is_imported_when_it_is_asked_for() -> None:
    assert input_type("tide") is Tide
    assert result_type("paper") is Paper
    assert input_types()["tide"] == "tide_of_test:Tide"


@pytest.mark.parametrize("kind", sorted(inputs.KINDS))
def test_every_input_of_ours_has_its_kind_as_its_tag(kind: str) -> None:
    assert issubclass(input_type(kind), InputConfig)


@pytest.mark.parametrize("kind", sorted(results.KINDS))
def test_every_result_of_ours_has_its_kind_as_its_tag(kind: str) -> None:
    assert issubclass(result_type(kind), ResultConfig)


@pytest.mark.usefixtures("_registered")
def test_an_unknown_kind_says_which_there_are() -> None:
    with pytest.raises(KindError, match="unknown kind `tidde`") as caught:
        input_type("tidde")
    assert "tide" in caught.value.known


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that somebody else wrote, as pip leaves it."""
    (tmp_path / "others_sensor.py").write_text(
        textwrap.dedent(
            """
            from edgeglm_agent.settings.types import Anomaly, InputConfig

            class Sensor(InputConfig, frozen=True, tag="sensor"):
                bus: int = 0

            class Misnamed(InputConfig, frozen=True, tag="other"):
                pass

            nothing = 3
            """
        )
    )
    (tmp_path / "others_broken.py").write_text("raise RuntimeError('no such bus')")
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[edgeglm_agent.inputs]\nsensor = others_sensor:Sensor\nbroken = others_broken:X\n"
        "misnamed = others_sensor:Misnamed\nno-struct = others_sensor:nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("_installed")
def test_a_package_adds_a_kind() -> None:
    assert input_type("sensor").__name__ == "Sensor"


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param("broken", "cannot be imported: RuntimeError: no such bus", id="raises"),
        pytest.param("misnamed", "has the tag `other`", id="tag"),
        pytest.param("no-struct", "is no InputConfig", id="no-struct"),
    ],
)
def test_a_package_that_is_at_fault_is_named(kind: str, said: str) -> None:
    with pytest.raises(KindError, match=said):
        input_type(kind)


@pytest.mark.usefixtures("_installed")
def test_a_kind_that_is_ours_cannot_be_claimed() -> None:
    with pytest.raises(KindError, match=r"others_sensor:Sensor claims the kind `sensor`, which ours:Sensor has"):
        all_kinds({"sensor": "ours:Sensor"}, "edgeglm_agent.inputs")


def test_a_kind_of_ours_is_found_without_looking_at_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(**_: str) -> list[EntryPoint]:
        raise AssertionError

    monkeypatch.setattr("importlib.metadata.entry_points", looked)
    monkeypatch.setitem(sys.modules, "tide_of_test", sys.modules[__name__])
    assert imported_kind("tide", {"tide": "tide_of_test:Tide"}, "none", InputConfig) is Tide


@pytest.mark.usefixtures("_registered")
def test_a_slot_reaches_its_worker_as_it_was_read() -> None:
    slot = Slot(
        model="/m",
        input=Tide(gauge="harbour"),
        results=[Paper(tray=2)],
        threads=3,
        providers=["cpu"],
        anomaly=Anomaly(before=3),
    )
    assert unpack_slot(pack_slot(slot)) == slot


@pytest.mark.usefixtures("_registered")
def test_a_worker_without_the_package_of_a_kind_says_so() -> None:
    data = msgspec.msgpack.encode({"model": "/m", "input": {"kind": "gone"}, "results": []})
    with pytest.raises(KindError, match="unknown kind `gone`"):
        unpack_slot(data)

"""A real V4L2 device: the kernel's virtual camera (vivid), in an emulated machine, since this one has no camera."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.machine import environment, run_in_machine

ROOT = Path(__file__).resolve().parents[3]
LOOK = """
import runpy, sys, time
from pathlib import Path
from edgeglm_agent.inputs import frames
from edgeglm_agent.inputs._base import InputLostError
from edgeglm_agent.inputs.camera import CameraInput

support = runpy.run_path(sys.argv[1])
support["read_one"].__globals__["GIVE_UP_S"] = 200.0
context, read_one = support["context"], support["read_one"]
frames.START_S = 120.0  # an emulated processor
folder, driver = Path("/run"), Path("/sys/bus/platform/drivers/vivid")


def lost(source):
    try:
        while True:
            source.read(1.0)
    except InputLostError as error:
        return str(error)
    finally:
        source.close()


first = CameraInput(width=640, height=480).open(context(folder, slot="first"))
print("said: frame", read_one(first).sample.shape, flush=True)
second = CameraInput(width=640, height=480).open(context(folder, slot="second"))
print("said: shared", read_one(second).sample.shape, flush=True)
first.close()
print("said: taken over", read_one(second).sample.shape, flush=True)
time.sleep(1.0)
print("said: dropped", read_one(second).dropped > 0, flush=True)
(driver / "unbind").write_text("vivid.0")
print("said: pulled out:", lost(second), flush=True)
try:
    CameraInput().open(context(folder))
except InputLostError as error:
    print("said: then", error, flush=True)
(driver / "bind").write_text("vivid.0")
(device,) = Path("/dev").glob("video*")
again = CameraInput(device=str(device)).open(context(folder))
print("said: back", read_one(again).sample.shape, flush=True)
again.close()
print("said: mjpeg:", lost(CameraInput(device=str(device), format="mjpeg").open(context(folder))), flush=True)
"""


@pytest.mark.full
def test_a_camera_gives_frames_is_shared_pulled_out_and_found_again(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    support = ROOT / "tests" / "support" / "inputs.py"
    script = tmp_path / "guest.sh"
    script.write_text(f"{environment()}exec '{sys.executable}' '{tmp_path}/look.py' '{support}' 2>&1\n")
    folder = ROOT / "build" / "machine"
    folder.mkdir(parents=True, exist_ok=True)
    out = run_in_machine(
        script, folder, modules=["vivid"], options="n_devs=1 node_types=0x1", timeout_s=600
    )  # node_types: capture alone
    said = dict(line.removeprefix("said: ").partition("(480")[::2] for line in out.splitlines() if "said:" in line)
    assert "machine: 0" in out, out
    assert {"frame ", "shared ", "taken over ", "back ", "dropped True"} <= set(said), out
    (pulled_out,) = (line for line in out.splitlines() if "pulled out:" in line)
    # ENODEV or EINVAL, as the driver is met waiting for a frame or asked for the next one
    assert "/dev/video0 has ended with status 1: " in pulled_out
    assert "v4l2-ctl" not in pulled_out, "its formats are not what is wrong"
    assert "said: then /dev/video0 is not there" in out
    (refused,) = (line for line in out.splitlines() if "mjpeg:" in line)
    assert "/dev/video0 has ended with status 1" in refused
    assert "v4l2-ctl" in refused

"""The end of `make demo`: an agent serves what was just compressed, and is asked about digits it has not seen.

python scripts/demo.py [FOLDER]: FOLDER holds the compressed recipe digits-cnn (default: build/digits-cnn). The exit
code is 1 where too few answers are right. On a terminal the agent goes on serving until Ctrl-C.
"""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ASKED, RIGHT = 5, 4  # images, and how many answers must be right
PATIENCE_S = 60.0


def main() -> None:
    """Write settings, start the agent, ask it, count what is right, show its status, stop it."""
    model = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "digits-cnn").resolve()
    folder = model.parent / "demo-agent"
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = folder / "agent.toml"
    settings.write_text(
        'device = "demo"\nstate_dir = "state"\nruntime_dir = "run"\nlog = {format = "text"}\n'
        "[telemetry]\nwindow_s = 2\n"
        f'[slots.main]\nmodel = "../{model.name}"\n'
        f'input = {{kind = "http", port = {port}}}\n'
        'results = [{kind = "jsonl"}]\n',
        encoding="utf-8",
    )
    settings.chmod(0o600)
    command = str(Path(sys.executable).with_name("edgeglm-agent"))
    print(f"\n$ edgeglm-agent run {shown(settings)}", flush=True)
    agent = subprocess.Popen([command, "run", str(settings)])
    try:
        wait_until_it_serves(agent, port)
        sys.path.insert(0, str(ROOT / "recipes" / "digits-cnn"))
        from data import load  # the recipe's own

        images, digits = load("eval")
        np.save(folder / "digit.npy", images[0])
        right = 0
        for image, digit in zip(images[:ASKED], digits[:ASKED], strict=True):
            best = ask(port, image)[0]
            right += best["label"] == str(digit)
            print(f"a {digit}: answered {best['label']} with {best['score']:.3f}", flush=True)
        if right < RIGHT:
            raise SystemExit(f"error: the agent answered {right} of {ASKED} digits right; at least {RIGHT} must be")
        time.sleep(2.5)  # a window ends, so that the status has figures
        print(f"\n$ edgeglm-agent status {shown(settings)}", flush=True)
        subprocess.run([command, "status", str(settings)], check=True)
        if sys.stdout.isatty():
            serve_on(agent, port, folder / "digit.npy")
    finally:
        agent.terminate()
        agent.wait(PATIENCE_S)
    print(f"\nThe agent was stopped. To start it again: .venv/bin/edgeglm-agent run {shown(settings)}")


def serve_on(agent: subprocess.Popen[bytes], port: int, image: Path) -> None:
    """Say how to ask the agent, and leave it serving until Ctrl-C."""
    print(f"\nThe agent serves at http://127.0.0.1:{port} until Ctrl-C. In another terminal, ask it about a digit:")
    print(
        f"curl -H 'Content-Type: application/x-npy' --data-binary @{shown(image)} http://127.0.0.1:{port}/v1/infer",
        flush=True,
    )
    try:
        code = agent.wait()
    except KeyboardInterrupt:
        return
    if code:
        raise SystemExit(f"error: the agent ended with {code}")


def shown(path: Path) -> Path:
    """Return a path as one types it in the clone."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def wait_until_it_serves(agent: subprocess.Popen[bytes], port: int) -> None:
    """Return once /healthz says that the model serves."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        if agent.poll() is not None:
            raise SystemExit(f"the agent ended with {agent.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the agent does not serve after {PATIENCE_S:g} s")


def ask(port: int, image: np.ndarray) -> list[dict[str, object]]:
    """Return the agent's answer for one image."""
    body = io.BytesIO()
    np.save(body, image)
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/infer", body.getvalue(), {"Content-Type": "application/x-npy"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, object]] = json.load(answer)["answer"]
    return found


if __name__ == "__main__":
    main()

"""What does the agent answer over HTTP: p95 and throughput of 1 to 256 clients, with and without batching, FP32 and INT8?

A small CNN (npy in) and MiniLM (texts in JSON), each as FP32 and INT8, behind one agent that has a slot with and one without
batching for each. Clients are a process of their own, on the same cores. With and without batching follow each other
directly, which of them first is drawn by lot, and a gain is that of one such pair; the pairs come in another order each round.
In every round, too: what the model alone gains from a batch (the same engine, without a server), and a flood on a slot
with a short queue. It wants a quiet machine, and takes six minutes.

python benchmarks/agent_http.py [--rounds 5] [--seconds 1.5]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from agent_engines import SHAPE, written
from common import HERE, WORK, write_result
from edgeglm_agent.settings.types import InputConfig, Slot
from edgeglm_agent.worker.model import load_model

CLIENTS = (1, 16, 64, 256)
BATCH = 16  # at most, in a slot that batches
ALONE = (1, 8, 16)  # batches of the model alone
TEXT = "The camera at the north gate has not sent a picture since the storm of last night."
MINILM = HERE.parent / "recipes" / "minilm" / "recipe.yaml"
ALONE_S = 0.3  # of one measurement of the model alone


def networks() -> dict[str, tuple[Path, str, str, bytes]]:
    """Return name -> folder, artifact, content type, body."""
    from edgeglm import compress

    file = io.BytesIO()
    np.save(file, np.random.default_rng(1).normal(size=SHAPE).astype(np.float32))
    cnn = written(WORK / "agent-http", artifacts=[{"format": "onnx"}, {"format": "onnx", "quantize": "static-int8"}])
    folder = WORK / "agent-http-minilm"
    if not (folder / "manifest.json").exists():
        compress(MINILM, output=folder, overrides=(
            "artifacts=[{format: onnx, quantize: none}, {format: onnx, quantize: dynamic-int8}]", "budget={}",
        ))  # fmt: skip
    text = json.dumps({"inputs": TEXT}).encode()
    found = {}
    for network, place, kind, body in (
        ("cnn", cnn, "application/x-npy", file.getvalue()),
        ("minilm", folder, "application/json", text),
    ):
        manifest = json.loads((place / "manifest.json").read_text())
        for artifact in manifest["artifacts"]:
            precision = "fp32" if artifact["scheme"] == "none" else "int8"
            found[f"{network}-{precision}"] = (place, artifact["path"], kind, body)
    return found


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Agent:
    """`edgeglm-agent run` with a slot for each network, with and without batching, and one with a short queue."""

    def __init__(self, folder: Path, asked: dict[str, tuple[Path, str, str, bytes]]) -> None:
        self.ports: dict[str, int] = {}
        lines = [f'state_dir = "{folder}/state"', f'runtime_dir = "{folder}/run"', "[log]", 'level = "warning"']
        for name, (place, artifact, _, _) in asked.items():
            for batch in (1, BATCH):
                self._slot(lines, f"{name}-{batch}", place, artifact, f"max_batch = {batch}\nbatch_anyway = true", 1024)
        place, artifact, _, _ = asked["minilm-fp32"]
        self._slot(lines, "short", place, artifact, "max_batch = 1", 8)
        path = folder / "agent.toml"
        path.write_text("\n".join(lines) + "\n")
        self.log = (folder / "agent.log").open("wb")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgeglm_agent", "run", str(path)], stderr=self.log, env=environment
        )
        for port in self.ports.values():
            self._wait(port)

    def _slot(self, lines: list[str], name: str, place: Path, artifact: str, more: str, waiting: int) -> None:
        self.ports[name] = free_port()
        lines += [
            f"[slots.{name}]", f'model = "{place}"', f'artifacts = ["{artifact}"]', f"[slots.{name}.input]",
            'kind = "http"', f"port = {self.ports[name]}", f"max_waiting = {waiting}", "answer_timeout_s = 60", more,
        ]  # fmt: skip

    def _wait(self, port: int) -> None:
        end = time.monotonic() + 300
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                    return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise SystemExit(f"the agent does not serve: see {self.log.name}") from None
                time.sleep(0.2)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


def load(port: int, clients: int, seconds: float, request: Path) -> dict[str, Any]:
    """Return p50 and p95 in milliseconds, answers a second, statuses, and the share of a core that the clients took."""
    script = [sys.executable, str(HERE / "http_load.py"), str(port), str(clients), str(seconds), str(request)]
    said = json.loads(subprocess.run(script, capture_output=True, check=True, text=True).stdout)
    latencies = said["latencies_ms"]
    return {
        "p50_ms": latencies[len(latencies) // 2] if latencies else None,
        "p95_ms": latencies[int(0.95 * len(latencies))] if latencies else None,
        "per_s": len(latencies) / said["seconds"],
        "statuses": said["counts"],
        "client_cores": said["cpu_s"] / said["seconds"],
    }


class Alone:
    """A model by itself: the calls of its engine on samples that are ready."""

    def __init__(self, folder: Path, artifact: str, sample: Any) -> None:
        slot = Slot(model=str(folder), input=InputConfig(), artifacts=[artifact])
        self._model = load_model(folder, slot=slot, state_dir=folder / "state")
        ready = self._model.prepare(sample)
        self._batches = {batch: self._model.together([ready] * batch) if batch > 1 else ready for batch in ALONE}

    def rates(self, chance: random.Random) -> dict[int, float]:
        """Return batch -> samples a second, measured one after the other in an order by lot."""
        found = {}
        for batch in chance.sample(ALONE, len(ALONE)):
            ready, done, began = self._batches[batch], 0, time.perf_counter()
            while time.perf_counter() - began < ALONE_S:
                self._model.run(ready)
                done += batch
            found[batch] = done / (time.perf_counter() - began)
        return found


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians and ranges over rounds."""
    said: dict[str, Any] = {}
    for key in ("p50_ms", "p95_ms", "per_s", "client_cores"):
        values = sorted(one[key] for one in rounds if one[key] is not None)
        if values:
            said[key] = {"median": statistics.median(values), "low": values[0], "high": values[-1]}
    said["statuses"] = {
        status: sum(one["statuses"].get(status, 0) for one in rounds)
        for status in sorted({status for one in rounds for status in one["statuses"]})
    }
    return said


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    given = parser.parse_args()
    asked = networks()
    folder = Path(tempfile.mkdtemp())
    samples = {"cnn": np.zeros(SHAPE, np.float32), "minilm": TEXT}
    models = {
        name: Alone(place, artifact, samples[name.split("-")[0]]) for name, (place, artifact, _, _) in asked.items()
    }
    requests: dict[str, Path] = {}
    for name, (_, _, kind, body) in asked.items():
        requests[name] = folder / f"{name}.request"
        head = (
            f"POST /v1/infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        requests[name].write_bytes(head.encode() + body)
    agent = Agent(folder, asked)
    pairs: dict[tuple[str, int], list[dict[int, dict[str, Any]]]] = {}
    rates: dict[str, list[dict[int, float]]] = {name: [] for name in asked}
    flood: list[dict[str, Any]] = []
    try:
        order = [(name, clients) for name in asked for clients in CLIENTS]
        for name in asked:  # warm
            for batch in (1, BATCH):
                load(agent.ports[f"{name}-{batch}"], 4, 1.0, requests[name])
        for number in range(given.rounds):
            chance = random.Random(number)
            chance.shuffle(order)
            for name, clients in order:
                pair = {
                    batch: load(agent.ports[f"{name}-{batch}"], clients, given.seconds, requests[name])
                    for batch in chance.sample((1, BATCH), 2)
                }
                pairs.setdefault((name, clients), []).append(pair)
            for name, model in models.items():
                rates[name].append(model.rates(chance))
            flood.append(load(agent.ports["short"], 256, given.seconds, requests["minilm-fp32"]))
    finally:
        agent.close()
    rows = [
        {
            "network": name,
            "clients": clients,
            "off": summary([pair[1] for pair in pairs[name, clients]]),
            "on": summary([pair[BATCH] for pair in pairs[name, clients]]),
            "gain": sorted(pair[BATCH]["per_s"] / pair[1]["per_s"] for pair in pairs[name, clients]),
        }
        for name in asked
        for clients in CLIENTS
    ]
    for row in rows:
        off, on, gain = row["off"], row["on"], row["gain"]
        print(
            f"{row['network']:12} {row['clients']:4} clients: p95 {off['p95_ms']['median']:8.2f} -> "
            f"{on['p95_ms']['median']:8.2f} ms, {off['per_s']['median']:7.0f} -> {on['per_s']['median']:7.0f}/s, "
            f"x{statistics.median(gain):.2f} ({gain[0]:.2f} to {gain[-1]:.2f})"
        )
    alone = {
        name: {
            "per_s": {batch: statistics.median(one[batch] for one in found) for batch in ALONE},
            "gain": {batch: sorted(one[batch] / one[1] for one in found) for batch in ALONE if batch > 1},
        }
        for name, found in rates.items()
    }
    for name, about in alone.items():
        print(f"{name:12} alone: {about}")
    print("flood:", summary(flood))
    write_result(
        "agent_http",
        rounds=given.rounds,
        seconds=given.seconds,
        batch=BATCH,
        rows=rows,
        alone=alone,
        flood=summary(flood),
    )


if __name__ == "__main__":
    main()

"""The end of `make demo`: three agents serve what was just compressed, and fleet and page say which one drifts.

python scripts/demo.py [FOLDER]: FOLDER holds the compressed recipe digits-cnn (default: build/digits-cnn). gate-1 is
asked about digits it has not seen, gate-2 is killed and started again, gate-3 is given pictures that have gone grey and
noisy. The exit code is 1 where too few answers are right, list or page do not name the drift, or a row is missing. On a
terminal everything goes on until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeglm.files import locked
from edgeglm.fleet.processes import ends_with_us
from edgeglm.fleet.seeing.listing import board_lines
from edgeglm.fleet.store.opening import open_reader
from edgeglm.fleet.store.types import Device, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeglm.fleet.store.base import StoreReader

ROOT = Path(__file__).resolve().parents[1]
ASKED, RIGHT = 5, 4  # images, and how many answers must be right
PATIENCE_S = 120.0
STOPPED = 143  # by SIGTERM
FLEET, EVER = "default", Span(-(2**61), 2**61)
EDGEGLM = [sys.executable, "-m", "edgeglm"]
SETTINGS = """\
device = "{name}"
state_dir = "state"
runtime_dir = "run"
log = {{format = "text"}}
mqtt = {{host = "127.0.0.1", port = {broker}}}
telemetry = {{window_s = 4, daily_bytes = 100_000_000}}
[slots.main]
model = "{model}"
input = {input}
results = [{{kind = "jsonl"}}]
"""


def main() -> None:
    """Start the fleet and the agents, show what is wrong, look whether every row came, stop in order."""
    model = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "digits-cnn").resolve()
    folder = model.parent / "demo"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with locked(folder.with_name("demo.lock"), wait=False, what="the demo's folder"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            demonstrate(model, folder)
        except KeyboardInterrupt:
            sys.exit(130)


def demonstrate(model: Path, folder: Path) -> None:
    """Do all of it."""
    sys.path.insert(0, str(ROOT / "recipes" / "digits-cnn"))
    from data import load  # the recipe's own

    images, digits = load("eval")
    np.save(folder / "digit.npy", images[0])
    np.savez(folder / "digits.npz", x=images)
    noise = np.random.default_rng(0).normal(0, 20, images.shape)
    np.savez(folder / "grey.npz", x=np.clip(images * 0.5 + 60 + noise, 0, 255).astype(np.uint8))
    http, broker, page = free_port(), free_port(), free_port()
    inputs = {
        "gate-1": f'{{kind = "http", port = {http}}}',
        "gate-2": '{kind = "replay", path = "../digits.npz", rate = 50, loop = true}',
        "gate-3": '{kind = "replay", path = "../grey.npz", rate = 50, loop = true}',
    }
    agents: dict[str, Agent] = {}
    with running_fleet(folder, broker, page) as (store, address):
        try:
            print(f"\nThree agents serve {shown(model)}.")
            print("gate-1 answers questions, gate-2 looks at digits, gate-3 at digits gone grey and noisy.", flush=True)
            for name, given in inputs.items():
                settings = SETTINGS.format(name=name, broker=broker, model=model, input=given)
                agents[name] = Agent(folder / name, settings)
            ask_digits(agents["gate-1"], http, images, digits)
            until(lambda: store.inferences("gate-2"), "gate-2 has said how it does", agents)
            print("\ngate-2 is killed, and started again.", flush=True)
            agents["gate-2"].kill()
            agents["gate-2"].start()
            print("gate-3 raises drift once two windows of 4 s differ from the evaluation data.", flush=True)
            until(lambda: store.starts("gate-2") == 2, "gate-2 has said that it is back", agents)
            until(lambda: store.inferences("gate-1") == ASKED, "the answers of gate-1 are counted", agents)
            until(lambda: "drifting" in store.problems("gate-3"), "the drift of gate-3 is named", agents)
            until(lambda: store.is_well("gate-2"), "gate-2 serves, and nothing is wrong with its model", agents)
            verb("ls", store)
            verb("ls", store, "--problems")
            until(lambda: "drifting" in problems_on(address), "the drift is on the page", agents)
            print(f"\nThe same as a page, live: {address}", flush=True)
            if sys.stdout.isatty():
                go_on(agents, http, folder / "digit.npy", store)
        finally:
            for agent in agents.values():
                agent.stop()
        until(store.all_have_left, "all have said goodbye", {})
        print(f"\nEvery row of the {len(agents)} boards is in the store, and once: {store.count_rows()}.")
    print("Everything was stopped. What came is still there to look at:")
    print(f".venv/bin/edgeglm fleet show gate-3 --store {store.url}")


class Store:
    """What came of the boards."""

    def __init__(self, url: str) -> None:
        """Take its address."""
        self.url = url

    @contextlib.contextmanager
    def reading(self) -> Iterator[StoreReader]:
        """Open it for a moment."""
        reader = open_reader(self.url)
        try:
            yield reader
        finally:
            reader.close()

    def problems(self, name: str) -> set[str]:
        """Return what is wrong with a board, as `edgeglm fleet ls --problems` names it."""
        with self.reading() as reader:
            boards = board_lines(reader.devices(), time.time_ns() // 1_000_000)
        return {problem.kind for board in boards if board.device == name for problem in board.problems}

    def is_well(self, name: str) -> bool:
        """Tell whether a board serves, and its model does as it should."""
        with self.reading() as reader:
            board = reader.device(Device(FLEET, name))
        serves = board is not None and board.state is not None and board.state.slots["main"].status == "serving"
        return serves and not self.problems(name) & {"silent", "drifting", "erroring"}

    def inferences(self, name: str) -> int:
        """Return how many samples a board has answered."""
        with self.reading() as reader:
            return sum(one.window.inferences for one in reader.windows(EVER, Device(FLEET, name)))

    def starts(self, name: str) -> int:
        """Return how often a board's agent was started."""
        with self.reading() as reader:
            return sum(one.event.name == "agent-started" for one in reader.events(EVER, Device(FLEET, name)))

    def all_have_left(self) -> bool:
        """Tell whether every board has said goodbye: what it said before has come then."""
        with self.reading() as reader:
            return not any(board.state is None or board.state.online for board in reader.devices())

    def count_rows(self) -> int:
        """Return how many rows there are; end where a number is missing, is there twice, or was told to be lost."""
        count = 0
        with self.reading() as reader:
            for board in reader.devices():
                device = board.device
                rows = [*reader.windows(EVER, device), *reader.results(device, EVER), *reader.events(EVER, device)]
                numbers = sorted(row.sequence for row in rows)
                if numbers != [*range(1, len(rows) + 1)] or board.lost_rows or board.taken_back:
                    raise SystemExit(f"error: rows of {device.name} are missing: there are {numbers}")
                count += len(rows)
        return count


class Agent:
    """`edgeglm-agent run`, its log beside its settings."""

    def __init__(self, folder: Path, settings: str) -> None:
        """Write the settings, and start it."""
        folder.mkdir()
        self.settings, self.log = folder / "agent.toml", folder / "agent.log"
        self.settings.write_text(settings, encoding="utf-8")
        self.settings.chmod(0o600)
        self.start()

    def start(self) -> None:
        """Start it."""
        command = str(Path(sys.executable).with_name("edgeglm-agent"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [command, "run", str(self.settings)], stderr=log, process_group=0, preexec_fn=ends_with_us()
            )

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)
        if self.process.poll() is None:
            self.kill()


@contextlib.contextmanager
def running_fleet(folder: Path, port: int, page_port: int) -> Iterator[tuple[Store, str]]:
    """Run `edgeglm fleet up`; yield its store and the page's address once all is ready."""
    command = [*EDGEGLM, "fleet", "up", "--data", str(shown(folder / "fleet"))]
    command += ["--port", str(port), "--page-port", str(page_port)]
    print(f"\n$ edgeglm {' '.join(command[len(EDGEGLM) :])}", flush=True)
    with (folder / "fleet.log").open("wb") as log:
        fleet = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0, preexec_fn=ends_with_us()
        )
    try:
        assert fleet.stdout is not None
        said = {}
        for _ in range(3):
            line = fleet.stdout.readline()
            if not line:
                sys.stderr.write((folder / "fleet.log").read_text(encoding="utf-8"))
                raise SystemExit("error: the fleet did not start")
            print(line, end="", flush=True)
            part, address = line.split()
            said[part] = address
        yield Store(said["collector"]), said["page"]
        fleet.terminate()
        if fleet.wait(PATIENCE_S) != STOPPED:
            raise SystemExit(f"error: `edgeglm fleet up` ended with {fleet.returncode}")
    finally:
        fleet.terminate()
        fleet.wait()


def ask_digits(agent: Agent, port: int, images: np.ndarray, digits: np.ndarray) -> None:
    """Ask about a few; end where too many answers are wrong."""
    wait_until_it_serves(agent.process, port)
    right = 0
    for image, digit in zip(images[:ASKED], digits[:ASKED], strict=True):
        best = ask(port, image)[0]
        right += best["label"] == str(digit)
        print(f"a {digit}: answered {best['label']} with {best['score']:.3f}", flush=True)
    if right < RIGHT:
        raise SystemExit(f"error: the agent answered {right} of {ASKED} digits right; at least {RIGHT} must be")


def go_on(agents: dict[str, Agent], port: int, image: Path, store: Store) -> None:
    """Say what one may do, and leave everything running until Ctrl-C."""
    print("\nAll of it goes on until Ctrl-C. In another terminal, look at a board, or ask gate-1 about a digit:")
    print(f".venv/bin/edgeglm fleet show gate-3 --store {store.url}")
    print(
        f"curl -H 'Content-Type: application/x-npy' --data-binary @{shown(image)} http://127.0.0.1:{port}/v1/infer",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            check_they_run(agents)
            time.sleep(0.5)


def verb(name: str, store: Store, *options: str) -> None:
    """Run one of the fleet's verbs, as a person types it."""
    words = ["fleet", name, *options, "--store", store.url]
    print(f"\n$ edgeglm {' '.join(words)}", flush=True)
    subprocess.run([*EDGEGLM, *words], check=True)


def until(holds: Callable[[], object], what: str, agents: dict[str, Agent]) -> None:
    """Wait until something holds; end where it does not come, or an agent has ended."""
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        check_they_run(agents)
        if time.monotonic() > ends:
            raise SystemExit(f"error: not within {PATIENCE_S:g} s: {what}")
        time.sleep(0.2)


def check_they_run(agents: dict[str, Agent]) -> None:
    """End where an agent has ended."""
    for name, agent in agents.items():
        if agent.process.poll() is not None:
            raise SystemExit(f"error: {name} ended with {agent.process.returncode}: {shown(agent.log)}")


def problems_on(address: str) -> dict[str, int]:
    """Return how many boards have which problem, as the page is told."""
    with urllib.request.urlopen(f"{address}live", timeout=PATIENCE_S) as live:
        news = next(line for line in live if line.startswith(b"data: "))
    return json.loads(news.removeprefix(b"data: "))["head"]["kinds"]


def free_port() -> int:
    """Return one that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shown(path: Path) -> Path:
    """Return a path as one types it in the clone."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) and Path.cwd() == ROOT else path


def wait_until_it_serves(agent: subprocess.Popen[bytes], port: int) -> None:
    """Return once /healthz says that the model serves."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        if agent.poll() is not None:
            raise SystemExit(f"error: the agent ended with {agent.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"error: the agent does not serve after {PATIENCE_S:g} s")


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

"""What the agent's file may say: frozen structs, one per table. No I/O here."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgeglm_agent.wire.topics import NAME

NAME_PATTERN = f"^{NAME.pattern}"
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
AtLeastOne = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
# Paths: one that is relative starts at the folder of the settings file; the loader makes all of them absolute, and
# checks what these say. Inputs and results, also those of packages, use them for theirs.
AnyPath = Annotated[str, Meta(min_length=1, extra={"path": "any"})]
FilePath = Annotated[str, Meta(min_length=1, extra={"path": "file"})]  # is there, and can be read
FolderPath = Annotated[str, Meta(min_length=1, extra={"path": "folder"})]  # is there
SecretPath = Annotated[str, Meta(min_length=1, extra={"path": "secret"})]  # is there, and readable by its owner alone
SlotPath = Annotated[str, Meta(min_length=1, extra={"path": "slot"})]  # relative: in the folder of the slot's state
OutputPath = Annotated[str, Meta(min_length=1, extra={"path": "output"})]
ModelPath = Annotated[str, Meta(min_length=1, extra={"path": "model"})]  # a folder with a manifest


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of the file."""


class Tls(Table, frozen=True):
    """How the broker is known, and how it knows this board."""

    ca: FilePath | None = None  # PEM file of those who may sign the broker's certificate; not set: the system's
    certificate: FilePath | None = None  # PEM file: this board's own, for mutual TLS
    key: SecretPath | None = None  # PEM file: its private key, readable by the agent alone
    server_name: str | None = None  # the name in the broker's certificate, where it is not `host`


class Mqtt(Table, frozen=True):
    """The broker."""

    host: str  # the name or address of the broker
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None  # 8883 with TLS, else 1883, where it is not set
    version: Literal["auto", "5", "3.1.1"] = "auto"  # auto: 5, and 3.1.1 where that is refused
    tls: Tls | None = None  # not set: nothing is encrypted, which `doctor` warns of unless the host is this one
    username: str | None = None  # not set: the broker knows the board by its certificate, or not at all
    password_file: SecretPath | None = None  # its first line; readable by the agent alone
    keepalive_s: Annotated[int, Meta(ge=10, le=65535)] = 600  # longer than a window costs no extra messages


class Telemetry(Table, frozen=True):
    """What is said of the board and its models."""

    window_s: Annotated[int, Meta(ge=1, le=86400)] = 300  # one record a window and slot
    windows_at_once: Annotated[int, Meta(ge=1, le=100)] = 1  # that go in one message: 2 saves a quarter of the bytes
    daily_bytes: Annotated[int, Meta(ge=10_000)] = 200_000  # on the wire; over it windows are merged, then dropped
    drift: bool = True  # against the manifest's reference
    sample_share: Annotated[float, Meta(ge=0, le=1)] = 0.0  # of answers sent with their input, for looking at: opt-in
    remote_samples: bool = False  # true: a command may ask for answers with their input, and for a larger share of them


class Outbox(Table, frozen=True):
    """What waits on disk until the collector has it."""

    quota_mb: AtLeastOne = 64  # over it the oldest of the lowest priority goes, counted and reported


class Log(Table, frozen=True):
    """What the agent writes to stderr, which journald keeps."""

    level: Literal["debug", "info", "warning", "error"] = "info"  # lines below it are not written
    format: Literal["json", "text"] = "json"  # json: one object a line; text: for people


class InputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of where a slot's samples come from; its tag is ``kind``. See ``edgeglm_agent.inputs``."""


class ResultConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of where a slot's answers go; its tag is ``kind``. See ``edgeglm_agent.results``."""


class Anomaly(Table, frozen=True):
    """What is told of a score that goes over its limit (`threshold` in the model's postprocessing)."""

    before: Annotated[int, Meta(ge=0, le=1024)] = 0  # raw samples that came before it and travel with it: opt-in
    after: Annotated[int, Meta(ge=0, le=1024)] = 0  # likewise, that come after it: it is told when they have come
    max_kb: Annotated[int, Meta(ge=1, le=1024)] = 64  # of raw signal; a sample too large for its part stays behind
    gap_s: Annotated[float, Meta(ge=1)] = 60.0  # between two that are told; those in between are counted
    rate_hz: Positive | None = None  # of the signal within a sample, for who looks at it


class Slot(Table, frozen=True):
    """One model, in a process of its own."""

    model: ModelPath  # folder with a manifest.json, as `edgeglm compress` leaves it
    input: InputConfig  # where its samples come from
    results: list[ResultConfig] = []  # where its answers go, beside who asked over HTTP
    threads: Annotated[int, Meta(ge=1, le=256)] = 1  # of the runtime
    memory_mb: AtLeastOne | None = None  # of the worker, which is restarted above it; not set: half of the board's
    inference_timeout_s: Positive = 30.0  # a single inference that takes longer has hung
    start_timeout_s: Positive = 300.0  # loading and golden samples; TensorRT builds its engine in it
    failures: AtLeastOne = 5  # in a row before quarantine
    anomaly: Anomaly = Anomaly()  # of a model whose postprocessing has a `threshold`
    artifacts: list[str] = []  # paths within the model's folder, in the order to try; not set: the manifest's
    providers: list[Literal["cpu", "cuda", "tensorrt"]] = []  # ONNX Runtime's, in the order to try; not set: cpu


class Settings(Table, frozen=True):
    """The whole file."""

    version: Literal[1] = 1  # of this format
    device: Name | None = None  # this board's name, unique in the fleet; not set: the host's name
    fleet: Name = "default"  # the collector keeps fleets apart, and so can the broker's rights
    state_dir: AnyPath = "/var/lib/edgeglm-agent"  # outbox and state: on a disk that survives a power cut
    runtime_dir: AnyPath = "/run/edgeglm-agent"  # sockets; in memory
    workers: Literal["spawned", "external"] = "spawned"  # external: started by systemd, one worker@ unit a slot
    mqtt: Mqtt | None = None  # not set: nothing is sent; the outbox keeps what fits
    telemetry: Telemetry = Telemetry()  # what is said, how often, within how many bytes
    outbox: Outbox = Outbox()  # what waits on disk
    log: Log = Log()  # what is written to stderr
    slots: dict[Name, Slot] = {}  # one model each, `[slots.main]` for one

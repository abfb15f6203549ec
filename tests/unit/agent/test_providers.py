from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from edgeglm_agent.engines import EngineError, load_engine, providers
from edgeglm_agent.engines.engine_cache import EngineCache
from edgeglm_agent.engines.onnx import OnnxEngine, silenced_onnxruntime
from onnx import TensorProto, helper

from tests.support.model_folders import artifact_of, load, write_folder
from tests.support.tiny_models import tiny_images, tiny_logits, write_quantized_onnx, write_tiny_onnx

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return write_tiny_onnx(tmp_path / "model" / "model.onnx")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_built_in_is_refused_in_plain_words(onnx_file: Path, provider: str) -> None:
    with pytest.raises(EngineError, match=rf"^onnxruntime \S+ was built without {provider}; it has cpu$") as raised:
        load_engine(onnx_file, format="onnx", provider=provider)
    assert raised.value.fault == "no-runtime"


def test_the_next_provider_is_taken_and_the_refused_ones_are_told(onnx_file: Path) -> None:
    folder = write_folder(onnx_file.parent, [artifact_of(onnx_file, "onnx")])
    model = load(folder, providers=["tensorrt", "cuda", "cpu"])
    assert model.provider == "cpu"
    assert [line.split(": onnxruntime ")[0] for line in model.passed_over] == [
        "model.onnx (onnx, none) on tensorrt",
        "model.onnx (onnx, none) on cuda",
    ]


def test_only_onnx_files_have_another_provider(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="run on the cpu alone"):
        load_engine(tmp_path / "model.tflite", format="tflite", provider="cuda")


@pytest.fixture
def pretender(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is built in, starts, is listed by the session, and computes nothing: the plain build has one."""
    monkeypatch.setitem(providers.NAMES, "cuda", "AzureExecutionProvider")
    monkeypatch.setattr(providers, "arguments", lambda *_, **__: ["AzureExecutionProvider", "CPUExecutionProvider"])


@pytest.mark.usefixtures("pretender")
def test_a_provider_that_starts_and_computes_nothing_is_found_out_by_the_first_run(onnx_file: Path) -> None:
    engine = load_engine(onnx_file, format="onnx", provider="cuda")
    with pytest.raises(EngineError, match=r"^cuda was started and ran none of [1-9] nodes of the model$"):
        engine.run({"image": tiny_images(1)})


@pytest.mark.usefixtures("pretender")
def test_a_model_is_not_served_by_a_provider_that_computes_nothing(onnx_file: Path) -> None:
    folder = write_folder(onnx_file.parent, [artifact_of(onnx_file, "onnx")])
    model = load(folder, providers=["cuda", "cpu"])
    assert model.provider == "cpu"
    assert re.search(r"on cuda: cuda was started and ran none of \d nodes", model.passed_over[0])


@pytest.mark.usefixtures("pretender")
def test_after_its_proof_an_engine_runs_on_without_a_profile(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "nodes_by_provider", lambda _: {"AzureExecutionProvider": 2})
    engine = load_engine(onnx_file, format="onnx", provider="cuda")
    images = tiny_images(2)
    for _ in range(2):
        np.testing.assert_allclose(engine.run({"image": images})["logits"], tiny_logits(images), rtol=1e-5, atol=1e-5)
    assert engine.provider == "cuda"


def test_a_session_that_was_made_without_the_provider_is_refused(onnx_file: Path) -> None:
    ort = silenced_onnxruntime()
    session = ort.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    providers.check_started(ort, session, "cpu")
    with pytest.raises(EngineError, match="built with cuda and could not start it: the GPU, its driver or libraries"):
        providers.check_started(ort, session, "cuda")


class TestProfile:
    @pytest.fixture
    def profile(self, onnx_file: Path, tmp_path: Path) -> bytes:
        """What ONNX Runtime really writes, on the CPU."""
        ort = silenced_onnxruntime()
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(tmp_path / "profile")
        session = ort.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])
        session.run(None, {"image": tiny_images(1)})
        return (tmp_path / session.end_profiling()).read_bytes()

    def on(self, profile: bytes, where: dict[str, str]) -> Any:
        """Return a session that wrote this profile, its operators moved to other providers."""
        events = json.loads(profile)
        for event in events:
            about = event.get("args", {})
            if about.get("op_name") in where:
                about["provider"] = where[about["op_name"]]
        return json.dumps(events).encode()

    def test_nodes_are_counted_by_who_ran_them(self, profile: bytes) -> None:
        counts = providers.nodes_by_provider(profile)
        assert set(counts) == {"CPUExecutionProvider"}
        assert counts.total() >= 3  # Conv and Relu may be one

    def test_what_a_provider_left_to_the_cpu_is_told(self, profile: bytes, tmp_path: Path) -> None:
        total = providers.nodes_by_provider(profile).total()
        moved = self.on(profile, {"Gemm": "CUDAExecutionProvider"})
        assert self.finish(moved, tmp_path) == f"cuda (1 of {total} nodes; the rest on cpu)"

    def test_a_provider_that_ran_everything_is_named_alone(self, profile: bytes, tmp_path: Path) -> None:
        moved = profile.replace(b"CPUExecutionProvider", b"CUDAExecutionProvider")
        assert self.finish(moved, tmp_path) == "cuda"

    def test_copies_between_memories_prove_nothing(self, profile: bytes, tmp_path: Path) -> None:
        moved = self.on(profile, {"Gemm": "CUDAExecutionProvider"}).replace(b'"Gemm"', b'"MemcpyToHost"')
        with pytest.raises(EngineError, match="ran none of"):
            self.finish(moved, tmp_path)

    @pytest.mark.parametrize("text", [b"", b"[", b"[1]", b"3", b'[{"cat": "Node", "args": {"provider": "x"}}]'])
    def test_a_damaged_profile_is_an_error_of_the_engine(self, text: bytes) -> None:
        with pytest.raises(EngineError, match="profile that cannot be read"):
            providers.nodes_by_provider(text)

    def finish(self, profile: bytes, tmp_path: Path) -> str:
        class Session:
            def end_profiling(self) -> str:
                (tmp_path / "moved.json").write_bytes(profile)
                return str(tmp_path / "moved.json")

        options = silenced_onnxruntime().SessionOptions()
        return providers.Proof("cuda", options).finish(Session())


@pytest.fixture
def as_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU in TensorRT's place."""
    monkeypatch.setitem(providers.NAMES, "tensorrt", "CPUExecutionProvider")
    monkeypatch.setattr(providers, "arguments", lambda *_, **__: ["CPUExecutionProvider"])


@pytest.mark.usefixtures("as_tensorrt")
def test_tensorrt_gets_as_many_rows_at_a_time_as_it_got_first(onnx_file: Path) -> None:
    engine = load_engine(onnx_file, format="onnx", provider="tensorrt")
    assert engine.batch is None
    for rows in (2, 1, 5, 2):
        logits = engine.run({"image": tiny_images(rows)})["logits"]
        np.testing.assert_allclose(logits, tiny_logits(tiny_images(rows)), rtol=1e-5, atol=1e-5)
        assert engine.batch == 2


@pytest.mark.usefixtures("as_tensorrt")
def test_tensorrt_is_given_no_file_of_free_lengths(tmp_path: Path) -> None:
    shape = ["N", "T", 2]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    path = tmp_path / "free.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    with pytest.raises(EngineError, match="builds its engine for one shape, and `x` has a free length"):
        load_engine(path, format="onnx", provider="tensorrt")


def test_tensorrt_is_told_where_its_cache_is_and_that_a_file_is_quantized(onnx_file: Path, tmp_path: Path) -> None:
    ort = silenced_onnxruntime()
    cache = EngineCache(tmp_path, key=("a",))
    (name, options), last = providers.arguments(ort, "tensorrt", path=onnx_file, cache=cache)
    assert (name, last) == ("TensorrtExecutionProvider", "CPUExecutionProvider")
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(cache.path)
    assert "trt_int8_enable" not in options
    quantized = write_quantized_onnx(tmp_path / "int8.onnx", scheme="static-int8")
    assert providers.arguments(ort, "tensorrt", path=quantized, cache=None)[0][1] == {"trt_int8_enable": "1"}
    assert providers.arguments(ort, "cuda", path=onnx_file, cache=None)[0][1] == {"use_tf32": "0"}


def test_versions_that_an_engine_depends_on_are_asked_of_the_libraries() -> None:
    assert re.fullmatch(r"(sm_\d+)?", providers.compute_capability())
    assert re.fullmatch(r"\d*", providers.tensorrt_version())


def test_engines_are_kept_for_one_set_of_versions_one_gpu_and_one_model(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place(version: str, capability: str, ort: str, path: Path) -> str | None:
        monkeypatch.setattr(providers, "tensorrt_version", lambda: version)
        monkeypatch.setattr(providers, "compute_capability", lambda: capability)
        runtime = type("Runtime", (), {"__version__": ort})
        cache = providers.tensorrt_cache(runtime, path, tmp_path)
        return cache and cache.path.name

    other = write_tiny_onnx(tmp_path / "other.onnx", batch=1)
    places = [
        place("100300", "sm_87", "1.23.2", onnx_file),
        place("100301", "sm_87", "1.23.2", onnx_file),
        place("100300", "sm_86", "1.23.2", onnx_file),
        place("100300", "sm_87", "1.31.1", onnx_file),
        place("100300", "sm_87", "1.23.2", other),
    ]
    assert len(set(places)) == 5
    assert places[0] == place("100300", "sm_87", "1.23.2", onnx_file)
    assert place("", "sm_87", "1.23.2", onnx_file) is None
    assert place("100300", "", "1.23.2", onnx_file) is None


def filled(cache: EngineCache) -> bool:
    """Open a cache, and return whether there are engines in it that can be used."""
    assert cache.open()
    return cache.used


class TestEngineCache:
    @pytest.fixture
    def cache(self, tmp_path: Path) -> EngineCache:
        return EngineCache(tmp_path / "tensorrt", key=("tensorrt 100300", "sm_87"))

    @pytest.fixture
    def engine(self, cache: EngineCache) -> Path:
        """An engine that was built, and has answered."""
        assert filled(cache) is False
        engine = cache.path / "graph_0_sm87.engine"
        engine.write_bytes(b"engine" * 1000)
        cache.seal()
        return engine

    def test_a_sealed_engine_is_there_at_the_next_start(self, cache: EngineCache, engine: Path) -> None:
        for _ in range(2):
            assert filled(cache)
            assert engine.is_file()
            cache.seal()

    def test_an_engine_that_never_answered_is_built_anew(self, cache: EngineCache, engine: Path) -> None:
        assert filled(cache)  # and then the process dies of it
        assert not filled(cache)
        assert not engine.exists()

    @pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "added", "seal cut", "seal gone"])
    def test_a_folder_that_is_not_as_it_was_sealed_is_built_anew(
        self, cache: EngineCache, engine: Path, damage: str
    ) -> None:
        seal = cache.path / "sealed.json"
        if damage == "flipped":
            engine.write_bytes(b"engine" * 999 + b"enginE")
        elif damage == "cut":
            engine.write_bytes(engine.read_bytes()[:100])
        elif damage == "gone":
            engine.unlink()
        elif damage == "added":
            engine.with_name("more.engine").write_bytes(b"x")
        elif damage == "seal cut":
            seal.write_bytes(seal.read_bytes()[:10])
        else:
            seal.unlink()
        assert not filled(cache)
        assert list(cache.path.iterdir()) == []

    def test_where_nothing_can_be_written_there_is_no_cache(
        self, tmp_path: Path, onnx_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_bytes(b"")
        cache = EngineCache(tmp_path / "file" / "tensorrt", key=("a",))
        assert not cache.open()
        monkeypatch.setitem(providers.NAMES, "tensorrt", "CPUExecutionProvider")
        monkeypatch.setattr(providers, "tensorrt_cache", lambda *_: cache)
        monkeypatch.setattr(
            providers, "arguments", lambda *_, cache, **__: [["CPUExecutionProvider"], 3][cache is not None]
        )
        assert OnnxEngine(onnx_file, provider="tensorrt", cache=tmp_path).run({"image": tiny_images(1)})

    def test_an_empty_folder_is_not_taken_for_engines(self, cache: EngineCache) -> None:
        cache.open()
        cache.seal()
        assert not filled(cache)

    def test_the_engines_of_this_model_and_the_one_before_it_are_kept(self, tmp_path: Path) -> None:
        for number in range(4):
            cache = EngineCache(tmp_path, key=(str(number),))
            cache.open()
            (cache.path / "x.engine").write_bytes(b"x")
            cache.seal()
            os.utime(cache.path, ns=(number * 10**9, number * 10**9))
        kept = {EngineCache(tmp_path, key=(str(number),)).path for number in (2, 3)}
        assert set(tmp_path.iterdir()) == kept

    def test_engines_that_do_not_load_are_built_once_more(
        self, onnx_file: Path, cache: EngineCache, engine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def arguments(*_: object, **__: object) -> list[object]:
            # options that are none make the session fail, as an engine of another driver would
            return [("CPUExecutionProvider", 3)] if engine.exists() else ["CPUExecutionProvider"]

        monkeypatch.setitem(providers.NAMES, "tensorrt", "CPUExecutionProvider")
        monkeypatch.setattr(providers, "tensorrt_cache", lambda *_: cache)
        monkeypatch.setattr(providers, "arguments", arguments)
        opened = OnnxEngine(onnx_file, provider="tensorrt", cache=cache.path.parent)
        assert not engine.exists()
        (cache.path / "built.engine").write_bytes(b"new")
        opened.run({"image": tiny_images(1)})
        assert filled(cache)  # sealed after it had answered

"""A torch network as an FP32 TFLite flatbuffer: images with channels last, a signature for each way to call it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from edgeglm_agent.processing import cut

from edgeglm.artifacts import flatbuffer
from edgeglm.artifacts.built import ONE_ROW
from edgeglm.artifacts.checking import check_parity, named
from edgeglm.artifacts.failures import find_failure
from edgeglm.artifacts.network import PREFIX, Flat, example_inputs, run_torch, trace_error
from edgeglm.artifacts.quiet import silenced
from edgeglm.artifacts.sequences import check_cuts
from edgeglm.artifacts.tflite_layout import move_channels, to_file_layout
from edgeglm.errors import ExportError
from edgeglm.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from edgeglm.artifacts.built import Calls
    from edgeglm.artifacts.checking import Checked
    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model

CHIEF = "serving_default"  # the signature that runtimes take unless they are told another
_PREFIXES = (f"wrapped.{PREFIX}", PREFIX)  # with and without the channels-last wrapper
_NATIVE_OPERATOR = re.compile(r"'((?:stablehlo|chlo|tfl|mhlo)\.\w+)' op")


def load_converter() -> Any:
    """Return litert_torch; importing it costs some 5 s, and it talks meanwhile."""
    with silenced():
        import litert_torch
    return litert_torch


def write_float(model: Model, sample: Arrays, path: Path, calls: Calls = ONE_ROW) -> Checked:
    """Write the network and prove that the file computes what the network does.

    Args:
        model: In eval mode, on the CPU.
        sample: Some preprocessed rows, (N, ...) each, by input name, in the network's layout.
        path: Where the file goes.
        calls: Batch sizes and lengths; each pair is a signature, and all of them share the weights.

    Raises:
        ExportError: ``tflite-operator`` when TFLite lacks an operator, ``export-trace`` when the network cannot be
            traced, ``export-differs`` when the file computes something else, ``buckets-unusable``.
    """
    if calls.buckets is not None:
        check_cuts(model, sample, calls.buckets)
    signatures = _signatures(model, sample, calls)
    channels_last = [name for name, values in signatures[CHIEF].items() if values.ndim == 4]
    data = _convert(model, signatures, channels_last)
    with replacing(path, synced=False) as temporary, named(path, temporary):
        temporary.write_bytes(data)
        graph = flatbuffer.read(temporary)
        flatbuffer.name_outputs(graph, [spec.name for spec in model.inputs], [spec.name for spec in model.outputs])
        weighted = {
            name
            for name, child in model.module.named_modules()
            if any(parameter.ndim > 1 for parameter in child.parameters(recurse=False))
        }
        flatbuffer.name_tensors(graph, layers_in, weighted, channels_last=channels_last)
        temporary.write_bytes(flatbuffer.to_bytes(graph))
        cases = [(to_file_layout(inputs, channels_last), run_torch(model, inputs)) for inputs in signatures.values()]
        checked = check_parity(temporary, "tflite", cases, layers=flatbuffer.operator_layers(graph))
    wide = [name for name, values in signatures[CHIEF].items() if values.dtype == np.int64]
    narrowed = [f"input {name} is int32 in the file (int64 in the network)" for name in wide]
    return replace(checked, warnings=[*narrowed, *checked.warnings])


def _signatures(model: Model, sample: Arrays, calls: Calls) -> dict[str, Arrays]:
    """Return signature -> the inputs that it is traced with; the chief one, of full length, comes first."""
    found: dict[str, Arrays] = {}
    for batch in calls.batches:
        whole = example_inputs(model, sample, batch)
        for length in reversed(calls.buckets.lengths) if calls.buckets else [0]:
            inputs = cut(whole, length, calls.buckets) if calls.buckets else whole
            found[f"b{batch}_l{length}" if length else f"b{batch}"] = inputs
    chief, *_ = found
    return {CHIEF: found.pop(chief), **found}


def layers_in(tensor_name: str) -> list[str]:
    """Return the torch layers in a tensor's name; operators that were fused have several, joined by ";;"."""
    layers = []
    for part in tensor_name.split(";;"):
        name = part.split(";")[0]
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                layers.append(name.removeprefix(prefix))
                break
    return layers


def _convert(model: Model, signatures: dict[str, Arrays], channels_last: list[str]) -> bytes:
    litert_torch = load_converter()
    names = list(signatures[CHIEF])
    flat = Flat(model).eval()
    wrapper: nn.Module = flat
    if channels_last:
        wrapper = litert_torch.to_channel_last_io(
            flat, args=[index for index, name in enumerate(names) if name in channels_last]
        ).eval()
    printed = ""
    try:
        with silenced() as captured, _full_layer_names(), torch.no_grad():
            try:
                job = litert_torch
                for key, inputs in signatures.items():
                    moved = move_channels(inputs, channels_last)
                    job = job.signature(key, wrapper, tuple(torch.from_numpy(values) for values in moved.values()))
                return bytes(job.convert().model_content())
            finally:
                printed = captured.text()
    except Exception as error:
        raise _conversion_error(error, wrapper, printed) from error


def _conversion_error(error: Exception, wrapper: nn.Module, printed: str) -> ExportError:
    failure = find_failure(error, wrapper, prefixes=_PREFIXES)
    native = _NATIVE_OPERATOR.findall(f"{error}\n{printed}")
    operator = failure.operator or (native[-1] if native else "")
    if operator:
        return ExportError(
            f"TFLite has no operator for {operator}",
            where=failure.layer,
            hint=f"replace it in the network ({failure.line or 'forward()'}), or ask for an onnx artifact",
            code="tflite-operator",
        )
    return trace_error(error, wrapper, prefixes=_PREFIXES)


@contextmanager
def _full_layer_names() -> Iterator[None]:
    """Let the converter write a module's whole path into tensor names.

    By itself it writes classes and last names, which two lists of blocks share: `encoder.0` and `decoder.0` would be
    one.
    """
    from litert_torch.backend.debuginfo import _build

    def path_of(node: torch.fx.Node) -> str:
        stack = node.meta.get("nn_module_stack") or {}
        paths = [name for name, _ in stack.values() if name]
        return (paths[-1] if paths else "") + ";"

    original = _build._get_hierarchy
    _build._get_hierarchy = path_of
    try:
        yield
    finally:
        _build._get_hierarchy = original

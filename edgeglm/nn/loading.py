"""From what a user's function returned to a network that has answered one batch."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from edgeglm_agent.wire import TensorSpec
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from edgeglm.errors import ModelError
from edgeglm.model import Model
from edgeglm.nn.calling import call, forward_parameters, to_tensor
from edgeglm.nn.weights import all_tensors, fit_weights, read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.data.splits import Arrays

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_LAYOUTS = {4: "NCHW", 2: "NC"}
_MODULE_OWN = frozenset(vars(nn.Module()))  # what torch keeps of every module: parameters, hooks, the mode


def build_python_model(module: object, weights: Path | None, sample: Arrays, *, where: str) -> Model:
    """Return a user's network, loaded, in eval mode on the CPU in float32, after one batch went through it.

    Args:
        module: What the user's function returned.
        weights: safetensors, or a state_dict; None when the function loaded them itself.
        sample: A few preprocessed rows by input name, first axis samples. One input may have any name: it takes that
            of the first parameter of ``forward``.
        where: ``recipe.yaml:4 model.entry``, for errors.

    Returns:
        The model; inputs are in the order of ``forward``'s parameters.

    Raises:
        ModelError: It is no ``nn.Module``; the weights do not fit; the network refuses the batch, or answers with NaN.
    """
    network = _unwrapped(module, where)
    network = network.cpu().float().eval()
    inputs = _match_inputs(network, sample, where)
    if any(isinstance(parameter, UninitializedParameter) for parameter in network.parameters()):
        _run(network, inputs, where)  # lazy layers take their shapes from a first batch
    if weights is not None:
        fit_weights(network, read_weights(weights, where), name=weights.name, where=where)
    _require_finite_weights(network, where)
    outputs = _run(network, inputs, where)
    rows = len(next(iter(inputs.values())))
    _check_outputs(outputs, rows, where)
    if rows > 1:
        _run(network, {name: tensor[:1] for name, tensor in inputs.items()}, where)  # boards serve one row at a time
    try:
        deepcopy(network)
    except Exception as error:
        raise ModelError(
            f"the network cannot be copied: {error}",
            where=where,
            code="model-not-copyable",
            hint="keep no open files, locks or results of earlier batches as attributes of the module",
        ) from error
    return Model(network, _specs(inputs), _specs({name: tensor.float() for name, tensor in outputs.items()}))


def state_sha256(module: nn.Module) -> str:
    """Return a fingerprint of all weights and buffers: names, types, shapes and bytes, in the order of the names.

    Buffers that ``state_dict`` leaves out count too: answers depend on them as on any.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(all_tensors(module).items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _unwrapped(module: object, where: str) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            "the function returned a TorchScript module, which can be neither pruned nor trained",
            where=where,
            code="model-scripted",
            hint="return the Python nn.Module that was scripted, and name its weights in `model.weights`",
        )
    if isinstance(module, _WRAPPERS):
        module = module.module
    module = getattr(module, "_orig_mod", module)  # torch.compile keeps the network there
    if not isinstance(module, nn.Module):
        shown = f"a {type(module).__name__}" if not isinstance(module, type) else f"the class {module.__name__} itself"
        raise ModelError(
            f"the function must return a torch.nn.Module; it returned {shown}",
            where=where,
            code="model-not-a-module",
            hint=_not_a_module_hint(module),
        )
    return module


def _not_a_module_hint(module: object) -> str:
    if isinstance(module, type):
        return f"return an instance: `return {module.__name__}()`"
    if isinstance(module, dict):
        return "return the network, and name the file of its weights in `model.weights`"
    if isinstance(module, tuple):
        return "return the network alone"
    if module is None:
        return "the function has no return statement: end it with `return model`"
    return "end the function with `return model`"


def _match_inputs(network: nn.Module, sample: Arrays, where: str) -> dict[str, Tensor]:
    parameters = forward_parameters(network)
    if len(sample) == 1:
        ((name, values),) = sample.items()
        if name not in parameters and parameters:
            name = parameters[0]
        return {name: to_tensor(values)}
    unknown = [name for name in sample if name not in parameters]
    if unknown:
        raise ModelError(
            f"the data has the inputs {', '.join(sample)}; forward() takes {', '.join(parameters) or 'no names'}",
            where=where,
            code="model-inputs-mismatch",
            hint="name the inputs as forward() names its parameters: what the data entry returns, or `tokenize` makes",
        )
    return {name: to_tensor(sample[name]) for name in parameters if name in sample}


def _run(network: nn.Module, inputs: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Run one batch; an exception names the innermost layer that was at work, and the shapes it was given."""
    names = {module: name for name, module in network.named_modules()}
    active: list[tuple[str, str]] = []

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        active.append((names.get(module, type(module).__name__), _shapes([*args, *kwargs.values()])))

    def leave(*_: Any) -> None:
        active.pop()

    hooks = [module.register_forward_pre_hook(enter, with_kwargs=True) for module in names]
    hooks += [module.register_forward_hook(leave) for module in names]
    try:
        with torch.no_grad():
            return call(network, inputs)
    except Exception as error:
        name, received = active[-1] if active else ("", "")
        module = network.get_submodule(name) if name in names.values() else network
        layer = f"layer {name} ({type(module).__name__})" if name else "forward()"
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        given = ", ".join(f"{key} {_shape(tensor)}" for key, tensor in inputs.items())
        raise ModelError(
            f"the network refuses the data: {layer}, given {received or given}, says: {reason}",
            where=where,
            code="model-refuses-input",
            hint=f"the batch was {given}; {_table_hint(inputs, name, module) or _input_hint(inputs, str(error))}",
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))}) {str(tensor.dtype).removeprefix('torch.')}"


def _shapes(values: list[Any]) -> str:
    return ", ".join(_shape(value) for value in values if isinstance(value, Tensor))


def _table_hint(inputs: dict[str, Tensor], name: str, module: nn.Module) -> str:
    """Return what to do where a table lacks a row: it is one of positions, or of other tokens; else nothing."""
    tokens = [tensor for tensor in inputs.values() if not tensor.is_floating_point() and tensor.ndim == 2]
    if not isinstance(module, nn.Embedding) or not tokens:
        return ""
    rows, length, largest = module.num_embeddings, tokens[0].shape[1], max(int(tensor.max()) for tensor in tokens)
    if largest >= rows and "position" not in name:
        return (
            f"tokens go up to {largest}, and `{name}` has {rows} rows: is `preprocess[0].tokenize.tokenizer` the "
            "tokenizer that the network was trained with?"
        )
    if length > rows:
        return f"texts have {length} tokens, and `{name}` {rows} rows: lower `preprocess[0].tokenize.length` to {rows}"
    return ""


def _input_hint(inputs: dict[str, Tensor], error: str) -> str:
    if "required positional argument" in error:
        return "forward() wants more inputs than the data gives: return them too; of texts `tokenize` makes the mask"
    for tensor in inputs.values():
        if tensor.ndim == 4 and tensor.shape[-1] in (1, 3, 4) and tensor.shape[1] not in (1, 3, 4):
            return "torch wants images as (rows, channels, height, width): move the channels in `preprocess`"
        if not tensor.is_floating_point() and "embedding" not in error.lower():
            return "give float32 unless the network takes tokens"
    return "its shape and type must be what forward() takes; mend the data entry or `preprocess`"


def _check_outputs(outputs: dict[str, Tensor], rows: int, where: str) -> None:
    if not outputs:
        raise ModelError(
            "forward() returns no tensor",
            where=where,
            code="model-no-output",
            hint="return a tensor, a tuple of tensors, or a dict of tensors",
        )
    for name, tensor in outputs.items():
        if tensor.ndim == 0 or tensor.shape[0] != rows:
            raise ModelError(
                f"output `{name}` has shape {tuple(tensor.shape)} for {rows} rows: its first axis must be the rows",
                where=where,
                code="model-output-shape",
                hint="return one answer for each row, in eval mode too",
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                f"output `{name}` holds NaN or infinity for real samples",
                where=where,
                code="model-output-nan",
                hint="check `preprocess` (is the range what the network was trained on?) and the weights",
            )


def _require_finite_weights(network: nn.Module, where: str) -> None:
    broken = [
        name
        for name, tensor in network.state_dict().items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if broken:
        raise ModelError(
            f"the network holds NaN or infinity in {', '.join(broken)}",
            where=where,
            code="weights-nan",
            hint="training diverged before these weights were written: take an earlier checkpoint",
        )


def _specs(tensors: dict[str, Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=name,
            dtype=str(np.dtype(str(tensor.dtype).removeprefix("torch."))),
            shape=tuple(tensor.shape[1:]),
            layout=_LAYOUTS.get(tensor.ndim, ""),
        )
        for name, tensor in tensors.items()
    )


def module_text(module: nn.Module) -> str:
    """Return what a network is made of, as text: its layers, their settings, the source of classes not torch's own.

    Settings are the attributes that are no parameter, no saved buffer and no layer: plain values, tensors (as a
    digest), functions (by name and source), and lists, tuples, sets, dicts and dataclasses of these.
    """
    sources = set()
    for kind in {base for part in module.modules() for base in type(part).__mro__}:
        if kind.__module__.partition(".")[0] in ("torch", "builtins", "typing", "abc"):
            continue
        with contextlib.suppress(OSError, TypeError):  # typed into a console: the layers must do
            sources.add(inspect.getsource(kind))
    settings = []
    for layer, part in module.named_modules():
        values = {name: value for name, value in vars(part).items() if name not in _MODULE_OWN}
        values |= {name: part.get_buffer(name) for name in sorted(part._non_persistent_buffers_set)}
        settings += [f"{layer}.{name} = {_value_text(value)}" for name, value in sorted(values.items())]
    return "\n".join([repr(module), *settings, *sorted(sources)])


def _value_text(value: Any, depth: int = 4) -> str:
    """Return a value in words that are the same in every process; of an unknown object, its type alone."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
        return repr(value)
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value)) if value.dtype.kind in "biuf" else value.tolist()
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"{value.dtype}{tuple(value.shape)} {hashlib.sha256(data).hexdigest()}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if depth and isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{key!s}: {_value_text(inner, depth - 1)}' for key, inner in value.items()))}}}"
    if depth and isinstance(value, list | tuple):
        return f"[{', '.join(_value_text(inner, depth - 1) for inner in value)}]"
    if depth and isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_value_text(inner, depth - 1) for inner in value))}}}"
    if inspect.isroutine(value):
        source = ""
        with contextlib.suppress(OSError, TypeError):
            source = inspect.getsource(value)
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')} {source}"
    return type(value).__qualname__

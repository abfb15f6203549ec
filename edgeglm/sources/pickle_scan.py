"""Is a file of weights more than weights? Decided by reading the pickle's opcodes; nothing is unpickled.

A pickle is a program. `torch.load(weights_only=True)` runs one that builds tensors and plain containers, and refuses
any other; this says so beforehand, without torch, with the names of what the file would import.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from typing import IO, TYPE_CHECKING, Any, cast

from edgeglm.errors import ModelError
from edgeglm.sources.lfs import refuse_lfs_pointer

if TYPE_CHECKING:
    from pathlib import Path

# What torch 2.13 lets a weights-only pickle name (torch._weights_only_unpickler); a test compares the two.
_ALLOWED = re.compile(
    r"""
    collections\.(OrderedDict|Counter)
    | _codecs\.encode | (__builtin__|builtins)\.(bytearray|set|complex)
    | torch\.nn\.parameter\.Parameter | torch\.(Size|Tensor|device) | torch\.serialization\._get_layout
    | torch\._tensor\._rebuild_from_type_v2
    | torch\._utils\._rebuild_(
        parameter | parameter_with_state | qtensor | tensor | tensor_v2 | tensor_v3 | sparse_tensor
        | meta_tensor_no_storage | nested_tensor | wrapper_subclass | device_tensor_from_numpy
        | device_tensor_from_cpu_tensor )
    | torch\.(bool|u?int[0-9]+|b?float[0-9]\w*|complex(32|64|128)
        |(qu?int|bits)[0-9]+(x[0-9]+)?|per_(tensor|channel)_\w+)
    | torch(\.cuda|\.sparse|\.cuda\.sparse)?\.
        (Byte|Char|Short|Int|Long|Half|Float|Double|BFloat16|Bool|Complex(Half|Float|Double)
        |Q(U?Int8|Int32)|QUInt(4x2|2x4))(Tensor|Storage)
    | torch\.storage\.(Typed|Untyped)Storage
    """,
    re.VERBOSE,
)
_MAX_PICKLE_BYTES = 64 * 1024 * 1024  # names and shapes alone; the tensors lie beside it
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGICS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_SAFETENSORS_HEAD = b"\0\0\0\0{"  # after a length that may begin like a pickle

# where training scripts put the weights in a checkpoint that holds more, most usual first
CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "ema")

_CONVERT = """\
run this once in the environment that the model was trained in, then name model.safetensors in the recipe:

    import torch
    from safetensors.torch import save_file
    found = torch.load({path!r}, weights_only=False, map_location="cpu")
    for _ in range(3):  # a checkpoint keeps its weights, or the whole network, under one of these
        for key in {keys!r}.split():
            if isinstance(found, dict) and isinstance(found.get(key), (dict, torch.nn.Module)):
                found = found[key]
                break
    state = found.state_dict() if isinstance(found, torch.nn.Module) else found
    state = {{name: value.contiguous().clone() for name, value in state.items() if isinstance(value, torch.Tensor)}}
    save_file(state, "model.safetensors")"""


def conversion(path: Path) -> str:
    """Return the hint for a file that holds more than weights: the lines that make safetensors of it."""
    return _CONVERT.format(path=path.name, keys=" ".join(CHECKPOINT_KEYS))


def refuse_full_pickle(path: Path, where: str) -> None:
    """Refuse a file that holds more than weights; a file that is no pickle passes.

    Args:
        path: A file that exists.
        where: The place in the recipe, or the path as the user gave it, for the error.

    Raises:
        UserError: ``file-lfs-pointer``.
        ModelError: ``weights-pickle``: it would run code when it is loaded. ``weights-torchscript``: it is a program
            of TorchScript. ``weights-corrupt``: it looks like a pickle, and is cut short.
    """
    refuse_lfs_pointer(path, where)
    try:
        foreign = sorted(foreign_globals(path))
    except (ValueError, zipfile.BadZipFile, EOFError, OSError, OverflowError, RuntimeError) as error:
        raise ModelError(
            f"{path.name} cannot be read as weights: {error}",
            where=where,
            hint="the file is cut short or damaged: save or copy it again",
            code="weights-corrupt",
        ) from error
    if foreign == ["torch.jit"]:
        raise ModelError(
            f"{path.name} is a TorchScript archive, a program and not weights",
            where=where,
            hint="save the network's `state_dict()` as safetensors; the network itself comes from `entry`",
            code="weights-torchscript",
        )
    if foreign:
        listed = ", ".join(f"`{name}`" for name in foreign[:4]) + (", ..." if len(foreign) > 4 else "")
        raise ModelError(
            f"{path.name} holds Python objects beside weights ({listed});"
            " loading it could run any code, so it is not loaded",
            where=where,
            hint=conversion(path),
            code="weights-pickle",
        )


def foreign_globals(path: Path) -> set[str]:
    """Return what the pickles in a file would import, beyond what a weights-only load allows.

    Files that are neither a zip archive of torch.save nor a bare pickle give nothing; a TorchScript archive gives
    ``{"torch.jit"}``.

    Raises:
        ValueError: A pickle is malformed or cut short.
        zipfile.BadZipFile: The archive is damaged.
    """
    if not is_pickle(path):
        return set()
    with path.open("rb") as file:
        if file.read(4) == _ZIP_MAGIC:
            return _in_archive(file)
        file.seek(0)
        found: set[str] = set()
        for index in range(5):  # the old format: magic number, version, system, the object, names of storages
            found |= _imports(file)
            if index == 0 and not _is_old_torch(path):
                break  # a bare pickle: one object
        return {name for name in found if _ALLOWED.fullmatch(name) is None}


def is_pickle(path: Path) -> bool:
    """Tell whether a file begins as what torch.save writes: a zip archive, or a bare pickle."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[:4] == _ZIP_MAGIC or (head[:2] in _PICKLE_MAGICS and head[4:] != _SAFETENSORS_HEAD)


def _in_archive(file: IO[bytes]) -> set[str]:
    found: set[str] = set()
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(re.fullmatch(r"[^/]+/(constants\.pkl|code/.*)", name) for name in names):
            return {"torch.jit"}
        for name in names:
            if not name.endswith("data.pkl"):
                continue
            if archive.getinfo(name).file_size > _MAX_PICKLE_BYTES:
                raise ValueError(f"{name} in it is larger than any list of weights")
            with archive.open(name) as pickled:
                found |= _imports(pickled)
    return {name for name in found if _ALLOWED.fullmatch(name) is None}


def _is_old_torch(path: Path) -> bool:
    """Tell whether the file starts with the magic number that torch.save wrote before zip archives."""
    magic = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
    with path.open("rb") as file:
        return magic in file.read(32)


def _imports(file: IO[bytes]) -> set[str]:
    """Return ``module.name`` of every global that one pickle names; a name made at run time counts as ``?``.

    Raises:
        ValueError: The pickle is malformed.
    """
    found: set[str] = set()
    strings: list[str] = []  # the texts pushed last: STACK_GLOBAL takes its module and name from them
    memo: dict[int, str] = {}
    memoized = 0
    pushed: str | None = None  # what lies on top of the stack, when it is text
    for opcode, given, _ in pickletools.genops(file):
        name, argument = opcode.name, cast("Any", given)
        if name in ("GLOBAL", "INST"):
            found.add(".".join(str(argument).split(" ", 1)))
            pushed = None
        elif name == "STACK_GLOBAL":
            found.add(".".join(strings[-2:]) if len(strings) >= 2 else "?")
            pushed, strings = None, []
        elif name in ("EXT1", "EXT2", "EXT4"):
            found.add("?")
        elif isinstance(argument, str) and "UNICODE" in name:
            pushed = argument
            strings.append(argument)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            slot = memoized if name == "MEMOIZE" else int(argument)
            memoized += 1
            if pushed is not None:
                memo[slot] = pushed
            else:
                memo.pop(slot, None)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            pushed = memo.get(int(argument))
            strings.append(pushed if pushed is not None else "?")
        elif name not in ("PROTO", "FRAME"):
            pushed = None
    return found

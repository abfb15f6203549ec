"""What both lists of operations are: names and settings in a row, checked, each with its key for errors."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from edgeglm_agent.processing._base import ProcessingError
from edgeglm_agent.wire import ProcessOp

_Op = TypeVar("_Op")


class OpLike(Protocol):
    """``wire.ProcessOp``, or whatever else names an operation and its settings."""

    @property
    def op(self) -> str:
        """The operation's name."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings as written."""
        ...


class Steps(Generic[_Op]):
    """Operations with their keys, made from names and settings."""

    def __init__(
        self, place: str, ops: Sequence[OpLike], known: Mapping[str, type[_Op]], others: Container[str]
    ) -> None:
        """Take what a recipe or a manifest lists.

        Args:
            place: ``preprocess`` or ``postprocess``, for errors.
            ops: Names and settings.
            known: Name -> type, of this list.
            others: Names of the other list.

        Raises:
            ProcessingError: A name is not known, or settings do not fit; with the key of the fault.
        """
        self._place = place
        self._others = others
        self._names = [op.op for op in ops]
        self.ops = [self._made(index, op, known) for index, op in enumerate(ops)]

    def wire(self) -> tuple[ProcessOp, ...]:
        """Return the operations as the manifest carries them, every default spelt out."""
        return tuple(ProcessOp(name, _spelt_out(op)) for name, (_, op) in zip(self._names, self.ops, strict=True))

    def _made(self, index: int, op: OpLike, known: Mapping[str, type[_Op]]) -> tuple[str, _Op]:
        key = f"{self._place}[{index}]"
        if op.op not in known:
            if op.op in self._others:
                other = "postprocess" if self._place == "preprocess" else "preprocess"
                raise ProcessingError(f"`{op.op}` is an operation of `{other}`", key=key)
            near = difflib.get_close_matches(op.op, known, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}"
            raise ProcessingError(f"unknown operation `{op.op}`; {hint}", key=key)
        key = f"{key}.{op.op}"
        try:
            return key, msgspec.convert(dict(op.settings), known[op.op])
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            unknown = re.search(r"unknown field `(.+)`", message)
            if unknown:
                fields = [field.encode_name for field in msgspec.structs.fields(known[op.op])]  # type: ignore[arg-type]
                near = difflib.get_close_matches(unknown[1], fields, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(fields)}"
                message = f"unknown key `{unknown[1]}`; {hint}"
            raise ProcessingError(message, key=key + path.rstrip("`")) from error


def _spelt_out(op: Any) -> dict[str, object]:
    """Return all settings but those that are None by default."""
    defaults = {field.encode_name: field.default for field in msgspec.structs.fields(op)}
    settings: dict[str, object] = msgspec.to_builtins(op)
    return {key: value for key, value in settings.items() if value is not None or defaults[key] is not None}


class named_by:  # noqa: N801 - reads as a statement
    """Add an operation's key to what it raises."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ProcessingError) and not is_named(error):
            raise named(error, self._key) from error


def is_named(error: ProcessingError) -> bool:
    """Return whether an error has an operation's key: not none, nor the mere name of a setting."""
    return "[" in error.key


def named(error: ProcessingError, key: str) -> ProcessingError:
    """Return the error with an operation's key before its own."""
    return ProcessingError(error.message, key=f"{key}.{error.key}".rstrip("."), hint=error.hint)


def written(ops: Sequence[OpLike | str | Mapping[str, Any]], place: str) -> list[OpLike]:
    """Return operations written as names, or as a mapping from one name to its settings."""
    made: list[OpLike] = []
    for index, op in enumerate(ops):
        if isinstance(op, str):
            made.append(ProcessOp(op))
        elif not isinstance(op, Mapping):
            made.append(op)
        elif len(op) == 1 and isinstance(settings := next(iter(op.values())), Mapping | None):
            made.append(ProcessOp(str(next(iter(op))), dict(settings or {})))
        else:
            raise ProcessingError("write an operation as `name` or `name: {key: value}`", key=f"{place}[{index}]")
    return made

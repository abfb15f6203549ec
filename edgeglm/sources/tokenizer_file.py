"""Whether the file that `tokenize` names is a tokenizer: said before any text is read, the same by check and run."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec

from edgeglm.errors import UserError
from edgeglm.files import tidied
from edgeglm.sources.lfs import refuse_lfs_pointer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "tokenizer.json"
_CODE = "tokenizer-invalid"
_WRITE = (
    "`AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` of a current transformers writes tokenizer.json"
)
_OLD = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")


def check_tokenizer(settings: Mapping[str, Any], folder: Path, *, key: str) -> None:
    """Refuse a tokenizer that could not be used; where the library is installed, it is loaded.

    Args:
        settings: Of the operation `tokenize`.
        folder: The recipe's.
        key: Of the operation: ``preprocess[0].tokenize``.

    Raises:
        UserError: There is no such file (``file-missing``); or it is a folder, another file of a tokenizer, no JSON, or
            JSON of something else; or it has no token to pad with, or leaves no room for text (``tokenizer-invalid``).
    """
    from edgeglm_agent.processing import ProcessingError  # takes NumPy along: only when used
    from edgeglm_agent.processing.tokenize import Tokenize

    written = str(settings["tokenizer"])
    _check_file(tidied(folder / written), written, where=f"{key}.tokenizer")
    if find_spec("tokenizers") is None:
        return
    try:
        msgspec.convert(settings, Tokenize).check(folder)
    except ProcessingError as error:
        if error.key:  # a setting, not the file, is at fault
            hint = "the special tokens of the tokenizer count: give more"
            raise UserError(error.message, where=f"{key}.{error.key}", hint=hint, code=_CODE) from error
        hint = f"name the file that the model was trained with; {_WRITE}"
        raise UserError(error.message, where=f"{key}.tokenizer", hint=hint, code=_CODE) from error


def _check_file(path: Path, written: str, *, where: str) -> None:
    """Refuse what is no JSON file of the library tokenizers. Raises: UserError."""
    if path.is_dir():
        raise UserError(
            f"`{written}` is a folder without {NAME}",
            where=where,
            hint=_folder_hint(path),
            code=_CODE,
        )
    if not path.is_file():
        there = [name for name in _OLD if (path.parent / name).is_file()]
        near = [beside.name for beside in sorted(path.parent.glob("*tokenizer*.json"))]
        if path.parent.is_dir() and not near and there:
            hint = f"its folder has {', '.join(there)} alone; {_WRITE}"
        else:
            hint = f"beside it there is {', '.join(near)}" if near else "paths are relative to the recipe's folder"
        raise UserError(f"no file `{written}`", where=where, hint=hint, code="file-missing")
    refuse_lfs_pointer(path, where)
    try:
        read: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        older = path.name in _OLD or path.suffix in (".txt", ".model")
        reason = f"is no {NAME}: it is a file of an older kind" if older else f"is no {NAME}, it is not JSON: {error}"
        raise UserError(
            f"`{written}` {reason}",
            where=where,
            hint=_WRITE if older else "copy the file again, or write it anew: " + _WRITE,
            code=_CODE,
        ) from None
    except OSError as error:
        raise UserError(
            f"`{written}` cannot be read: {error.strerror}", where=where, hint="look at its permissions", code=_CODE
        ) from error
    if not isinstance(read, dict) or not isinstance(read.get("model"), dict):
        beside = path.name != NAME and (path.parent / NAME).is_file()
        raise UserError(
            f"`{written}` is JSON, and no {NAME}: it has no `model`",
            where=where,
            hint=f"name {NAME}, which is beside it" if beside else _WRITE,
            code=_CODE,
        )


def greatest_token(path: Path) -> tuple[str, int]:
    """Return the token of the greatest number in a tokenizer.json, and that number; ("", -1) where none is read.

    What is wrong with the file itself, ``check_tokenizer`` says.
    """
    try:
        read: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return "", -1
    if not isinstance(read, dict) or not isinstance(read.get("model"), dict):
        return "", -1
    numbers: dict[str, Any] = {}
    known = read["model"].get("vocab")
    if isinstance(known, dict):  # WordPiece, BPE, WordLevel: token -> number
        numbers.update(known)
    elif isinstance(known, list):  # Unigram: (token, score), numbered from 0
        numbers.update({str(entry[0]): place for place, entry in enumerate(known) if isinstance(entry, list) and entry})
    for added in read.get("added_tokens") or []:
        if isinstance(added, dict):
            numbers[str(added.get("content"))] = added.get("id")
    counted = {token: number for token, number in numbers.items() if isinstance(number, int)}
    return max(counted.items(), key=lambda item: item[1], default=("", -1))


def _folder_hint(path: Path) -> str:
    there = [name for name in (*_OLD, "tokenizer_config.json") if (path / name).is_file()]
    return f"it has {', '.join(there)}, and no {NAME}; {_WRITE}" if there else f"it has no {NAME}; {_WRITE}"

"""Texts to token numbers, by the tokenizers library and the file that the model was trained with."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta

from edgeglm_agent.needs import TOKENIZERS, Need
from edgeglm_agent.processing._base import PreOperation, ProcessingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_AT_A_TIME = 1024  # texts; the library's own answers take kilobytes each
_USUAL_PADDING = ("[PAD]", "<pad>", "<PAD>", "<|pad|>", "<|endoftext|>")


class Tokenize(PreOperation, frozen=True, kw_only=True):
    """Make token numbers (length,) int64 of a text, cut or padded to one length; stands first."""

    needs: ClassVar[tuple[Need, ...]] = (TOKENIZERS,)
    files: ClassVar[tuple[str, ...]] = ("tokenizer",)

    tokenizer: str  # file tokenizer.json, or the folder it is in, relative to the recipe; travels with the artifacts
    length: Annotated[int, Meta(ge=1, le=65536)]  # tokens that every text is padded to, special ones included
    truncation: Literal["right", "left", "refuse"] = "right"  # which end of a longer text goes; refuse: an error
    input_ids: str = "input_ids"  # model input of the token numbers
    attention_mask: str | None = "attention_mask"  # model input that is 1 for tokens, 0 for padding; None: none
    token_type_ids: str | None = None  # model input of segment numbers (0 for one text); None: none

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Refuse: one text becomes several arrays (``tokens``)."""
        del values
        raise ProcessingError("makes several inputs of one text")

    def tokens(self, texts: Sequence[Any] | np.ndarray, folder: Path | None = None) -> dict[str, np.ndarray]:
        """Return input name -> (N, length) int64; what a text becomes does not depend on its neighbours.

        Args:
            texts: N strings.
            folder: What the path of the tokenizer is relative to: the recipe's, or the manifest's; None: here.

        Raises:
            ProcessingError: The file cannot be used, the library is missing, a sample is no text or is too long.
        """
        read = self._read((folder or Path()) / self.tokenizer)
        attributes = {self.input_ids: "ids", self.attention_mask: "attention_mask", self.token_type_ids: "type_ids"}
        columns = {name: attribute for name, attribute in attributes.items() if name is not None}
        result = {name: np.empty((len(texts), self.length), np.int64) for name in columns}
        for start in range(0, len(texts), _AT_A_TIME):
            part = [_text(text) for text in texts[start : start + _AT_A_TIME]]
            try:
                encoded = read.encode_batch(part)
            except Exception as error:  # of a Rust library: by its message alone is one known from another
                raise ProcessingError(_reason(error)) from error
            for row, one in enumerate(encoded, start):
                if len(one.ids) != self.length:
                    raise ProcessingError(f"text {row} has {len(one.ids)} tokens, more than {self.length}")
                for name, attribute in columns.items():
                    result[name][row] = getattr(one, attribute)
        return result

    def text(self, tokens: Mapping[str, np.ndarray], folder: Path | None = None) -> str:
        """Return the text that one sample's tokens stand for, as the model reads it: cut, perhaps in small letters.

        Args:
            tokens: (length,) numbers by input name, as ``tokens`` makes them; "" where there are none.
            folder: As in ``tokens``.

        Raises:
            ProcessingError: The file cannot be used, or the library is missing.
        """
        numbers = tokens.get(self.input_ids)
        if numbers is None:
            return ""
        read = self._read((folder or Path()) / self.tokenizer)
        mask = tokens.get(self.attention_mask or "", np.ones_like(numbers))
        added = set(read.encode("").ids)  # what stands around every text
        return str(read.decode([number for number in numbers[mask > 0].tolist() if number not in added]))

    def check(self, folder: Path | None = None) -> None:
        """Load the tokenizer, without any text.

        Args:
            folder: As in ``tokens``.

        Raises:
            ProcessingError: The file cannot be used, the library is missing, or ``length`` leaves no room for text.
        """
        self._read((folder or Path()) / self.tokenizer)

    def _read(self, path: Path) -> Any:
        try:
            about = path.stat()
        except OSError as error:
            raise ProcessingError(f"cannot read the tokenizer {path}: {error.strerror}") from error
        return _load(str(path), (about.st_mtime_ns, about.st_size), self.length, self.truncation)


@lru_cache(maxsize=8)
def _load(path: str, stamp: tuple[int, int], length: int, truncation: str) -> Any:
    """Return a tokenizer that cuts and pads; ``stamp`` tells a file that was written anew from the old one."""
    del stamp
    try:
        from tokenizers import Tokenizer  # here, since a board that reads no text need not have it
    except ImportError as error:
        raise ProcessingError(f"tokenize needs tokenizers: {TOKENIZERS.hint}") from error
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:
        raise ProcessingError(f"{path} is no tokenizer.json: {_reason(error)}") from error
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if length <= special:
        raise ProcessingError(
            f"length {length} leaves no room for text: {special} special tokens are added", key="length"
        )
    if truncation == "refuse":
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(length, direction=truncation)
    tokenizer.enable_padding(length=length, **_padding(tokenizer, path))
    return tokenizer


def _padding(tokenizer: Any, path: str) -> dict[str, Any]:
    """Return the file's own padding, or that of a token with a usual name; on the right where the file is silent."""
    own = tokenizer.padding
    if own is not None:
        return {key: own[key] for key in ("direction", "pad_id", "pad_type_id", "pad_token")}
    for token in _USUAL_PADDING:
        number = tokenizer.token_to_id(token)
        if number is not None:
            return {"pad_id": number, "pad_token": token}
    raise ProcessingError(f"{path} has no token to pad with, such as {_USUAL_PADDING[0]}")


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, str):
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ProcessingError(f"takes texts, not {kind}")
    return value


def _reason(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

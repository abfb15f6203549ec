"""What a request holds: samples out of JSON, npy, npz, png and jpeg, each fault with its place."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm_agent.inputs.json_arrays import (
    DEEPEST,
    PlacedError,
    as_array,
    check_lists,
    checked,
    decoded,
    lists,
    named,
    opening,
    read_array,
)
from edgeglm_agent.inputs.npy import DamagedError, npy, npz

if TYPE_CHECKING:
    from edgeglm_agent.inputs._base import InputContext

JSON, NPY, NPZ = "application/json", "application/x-npy", "application/x-npz"
_IMAGES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}  # and how such a file begins


class BodyError(ValueError):
    """A body that cannot be read.

    Attributes:
        where: The place in it: ``instances[3].image[0]``; empty for the body as a whole.
        unsupported: It is of a type that this model does not take.
    """

    def __init__(self, message: str, *, where: str = "", unsupported: bool = False) -> None:
        self.where = where
        self.unsupported = unsupported
        super().__init__(message)


class Samples(msgspec.Struct, frozen=True):
    """What one request asks about."""

    samples: list[Any]
    several: bool  # asked as ``instances``, and so to be answered
    nbytes: int  # that they take in memory, about


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_document = msgspec.json.Decoder(_Document)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)


class Bodies:
    """Reads bodies for one model."""

    def __init__(self, context: InputContext, *, most_bytes: int, most_samples: int) -> None:
        """Take what is known of the model, and how much a request may unpack to."""
        self._takes_texts = context.takes_texts
        self._names = context.input_names if len(context.input_names) > 1 and not context.takes_texts else ()
        self._mode = context.image_mode
        self._most_bytes = most_bytes
        self._most_samples = most_samples

    def types(self) -> tuple[str, ...]:
        """Return the content types that this model takes."""
        if self._takes_texts:
            return (JSON,)
        return (JSON, NPZ) if self._names else (JSON, NPY, NPZ, *_IMAGES)

    def read(self, kind: str, body: bytes) -> Samples:
        """Return the samples of a body.

        Args:
            kind: Its content type, one of ``types``.
            body: All of it.

        Raises:
            BodyError: It is no such thing, or holds what no model takes.
        """
        sample: Any
        try:
            if kind == JSON:
                return self._json(body)
            if kind == NPY:
                sample = checked(npy(body), "")
            elif kind == NPZ:
                sample = self._named(npz(body, most_bytes=self._most_bytes), "")
                sample = {name: checked(values, name) for name, values in sample.items()}
            else:
                sample = self._image(kind, body)
        except PlacedError as error:
            raise BodyError(error.said, where=error.where) from error
        except DamagedError as error:
            raise BodyError(f"the body is refused: {error}") from error
        return Samples([sample], several=False, nbytes=_size(sample))

    def _image(self, kind: str, body: bytes) -> np.ndarray:
        from edgeglm_agent.processing.images import EXTRA, NEEDED, ImageError, read_image

        if not body.startswith(_IMAGES[kind]):  # Pillow would try forty formats, some by other programs
            raise BodyError(f"the body does not begin as {kind} does")
        try:
            return read_image(
                io.BytesIO(body), self._mode, most_pixels=self._most_bytes // 3, formats=(kind[6:].upper(),)
            )
        except ImportError as error:
            raise BodyError(f"{NEEDED}: {EXTRA}", unsupported=True) from error
        except Exception as error:  # of a library that takes apart what strangers sent: anything may come
            said = str(error) if isinstance(error, ImageError) else f"{type(error).__name__}: {error}"
            raise BodyError(f"the body is no image that can be read: {said[:200]}") from error

    def _json(self, body: bytes) -> Samples:
        check_lists(body, NPY)
        document = decoded(_document, body, "")
        one, many = document.inputs, document.instances
        if (one is msgspec.UNSET) == (many is msgspec.UNSET):
            raise BodyError('wanted is {"inputs": ...} for one sample, or {"instances": [...]} for several')
        if isinstance(one, msgspec.Raw):
            sample = self._sample(bytes(one), "inputs")
            return Samples([sample], several=False, nbytes=_size(sample))
        assert isinstance(many, msgspec.Raw)
        samples = self._several(bytes(many))
        return Samples(samples, several=True, nbytes=sum(map(_size, samples)))

    def _several(self, raw: bytes) -> list[Any]:
        depth, first = opening(raw)
        if not depth:
            raise BodyError("a list is wanted, of one sample each", where="instances")
        if depth <= DEEPEST + 1 and first not in b'{"]':  # numbers: all at once, where they are of one shape
            numbers = lists(raw, depth, "instances")
            self._check_count(len(numbers))
            try:
                return [np.asarray(one) for one in as_array(numbers, "instances")]
            except PlacedError:
                return [as_array(one, f"instances[{row}]") for row, one in enumerate(numbers)]
        samples = decoded(_raws, raw, "instances")
        self._check_count(len(samples))
        return [self._sample(bytes(one), f"instances[{row}]") for row, one in enumerate(samples)]

    def _check_count(self, count: int) -> None:
        if not 0 < count <= self._most_samples:
            raise BodyError(f"{count} samples; 1 to {self._most_samples} at a time are answered", where="instances")

    def _sample(self, raw: bytes, where: str) -> Any:
        depth, first = opening(raw)
        if not depth and first == b"{":
            inputs = self._named(named(raw, where), where)
            return {name: self._values(bytes(one), f"{where}.{name}") for name, one in inputs.items()}
        if self._names:
            raise BodyError(f"the model takes several inputs, by name: {', '.join(self._names)}", where=where)
        return self._values(raw, where)

    def _values(self, raw: bytes, where: str) -> Any:
        """Return an array or a text."""
        depth, first = opening(raw)
        if first == b'"':
            if not self._takes_texts:
                raise BodyError("a text, and the model takes numbers", where=where)
            if depth:
                raise BodyError("a list of texts: one sample is one text, several go into `instances`", where=where)
            return decoded(_text, raw, where)
        return read_array(raw, where)

    def _named(self, values: dict[str, Any], where: str) -> dict[str, Any]:
        if not values:
            raise BodyError("holds nothing", where=where)
        if self._names and set(values) != set(self._names):
            raise BodyError(
                f"the model takes {', '.join(self._names)}, it was given {', '.join(values)[:200]}", where=where
            )
        return values


def _size(sample: Any) -> int:
    if isinstance(sample, dict):
        return sum(map(_size, sample.values()))
    return sample.nbytes if isinstance(sample, np.ndarray) else len(sample)

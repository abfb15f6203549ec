"""Sources as a recipe names them, asked: what a package's source does wrong is that package's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeglm.data.splits import Data
from edgeglm.errors import ModelError
from edgeglm.model import Model, ModelFile
from edgeglm.plugins import blaming, fault, tag
from edgeglm.sources import DATA_GROUP, MODEL_GROUP

if TYPE_CHECKING:
    from edgeglm.data.splits import Arrays
    from edgeglm.sources import DataSource, ModelSource
    from edgeglm.sources.entry import Entries


def load_data(source: DataSource, entries: Entries, **given: Any) -> Data:
    """Return what a source of data loads; ``given`` is what ``DataSource.load`` takes by name.

    Raises:
        UserError: As the source says; ``source-failed``: a package's raised, or returned no Data.
    """
    with blaming(source, DATA_GROUP, where="data"):
        data: object = source.load(entries, **given)
    if not isinstance(data, Data):
        raise fault(
            source,
            DATA_GROUP,
            f"returned a {type(data).__name__}, not a Data",
            where="data",
            mend="`load` returns what `edgeglm.sources.data_from_objects` makes",
        )
    return data


def load_model(
    source: ModelSource, entries: Entries, sample: Arrays, *, where: str = "model"
) -> tuple[Model | ModelFile, str]:
    """Return what a source of models loads, and its fingerprint; ``where`` is its key in the recipe.

    Raises:
        UserError: As the source says; ``source-failed``: a package's raised, or returned no model;
            ``plugin-invalid``: it gave another kind than it says, and the recipe's rules go by that.
    """
    with blaming(source, MODEL_GROUP, where=where):
        model: object = source.load(entries, sample)
    if not isinstance(model, Model | ModelFile):
        raise fault(
            source,
            MODEL_GROUP,
            f"returned a {type(model).__name__}, not a Model",
            where=where,
            mend="`load` returns what `edgeglm.nn.loading.build_python_model` makes of a network, or a ModelFile",
        )
    given = model.format if isinstance(model, ModelFile) else "network"
    if given != source.gives:
        raise ModelError(
            f"`source: {tag(source)}` says that it gives {source.gives}, and gave {given}",
            where=where,
            hint="mend the package that adds this source: `gives` is a class attribute",
            code="plugin-invalid",
        )
    with blaming(source, MODEL_GROUP, where=where):
        return model, source.fingerprint(entries)

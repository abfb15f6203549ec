"""The names of the classes: the recipe's, or those that the model brings along; in the order of the outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.errors import RecipeError
from edgeglm.plugins import blaming
from edgeglm.recipe.label_file import labels_in
from edgeglm.sources import MODEL_GROUP

if TYPE_CHECKING:
    from edgeglm.recipe import LoadedRecipe
    from edgeglm.sources.entry import Entries


def read_labels(loaded: LoadedRecipe, entries: Entries) -> tuple[str, ...]:
    """Return the labels, read from the recipe's file when it names one; without any, those of the model's source.

    Raises:
        RecipeError: The file cannot be read (``file-missing``), or the recipe has the names of the model's own classes
            in another order (``labels-order``): every answer would go by a wrong name.
    """
    labels = loaded.recipe.labels
    written = tuple(labels) if isinstance(labels, list) else _from_file(loaded, labels)
    with blaming(loaded.recipe.model, MODEL_GROUP, where="model"):
        own = loaded.recipe.model.class_names(entries)
    if own and len(written) == len(own) and set(written) == set(own) and written != own:
        place = next(place for place, (mine, theirs) in enumerate(zip(written, own, strict=True)) if mine != theirs)
        raise RecipeError(
            f"output {place} of the model is `{own[place]}`, and the label of that place is `{written[place]}`",
            where=loaded.where("labels"),
            hint=f"write them as the model has them: [{', '.join(own)}], or leave `labels` out",
            code="labels-order",
        )
    return written or own


def _from_file(loaded: LoadedRecipe, name: str) -> tuple[str, ...]:
    path = loaded.folder / name
    try:
        return labels_in(path)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the labels: {error}",
            where=loaded.where("labels"),
            hint="name a UTF-8 text file with one label a line, or write the labels as a list",
            code="file-missing",
        ) from error

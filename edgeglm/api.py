"""The Python API: the same run as `edgeglm compress`, with a model and data that may be objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeglm.log import Log, SilentLog
from edgeglm.recipe import LoadedRecipe, load_recipe

if TYPE_CHECKING:
    from edgeglm.cache import Cache
    from edgeglm.pipeline.run import Result


def compress(
    recipe: LoadedRecipe | Path | str | dict[str, Any],
    *,
    output: Path | str | None = None,
    model: Any = None,
    data: Any = None,
    overrides: tuple[str, ...] = (),
    log: Log | None = None,
    cache: Cache | None = None,
) -> Result:
    """Compress a model by a recipe.

    Args:
        recipe: What ``load_recipe`` returned, the path of a recipe, or a recipe as plain data; such a one may leave
            out ``version``, and ``model`` and ``data`` where they are given here.
        output: The result's folder; default ``build/<name>``.
        model: A ``torch.nn.Module`` in place of the recipe's ``model``; it is left as it was.
        data: Split name -> ``(inputs, targets)`` or a torch ``Dataset``, in place of the recipe's ``data``. Inputs:
            an array or name -> array, first axis samples. Splits: ``train``, ``calibration``, ``eval``, ...
        overrides: As for ``--set``; not together with what ``load_recipe`` returned.
        log: Told how far the work is; default: silence.
        cache: Default: the user's cache.

    Returns:
        Report, manifest (None when the budget was missed and the recipe says ``on_violation: fail``) and folder.

    Raises:
        EdgeglmError: See ``edgeglm.errors``; a missed budget is no exception but in ``report.budget``.
    """
    from edgeglm.pipeline.run import run_recipe

    if isinstance(recipe, dict):
        given = {"model": model, "data": data}
        recipe = {
            "version": 1,
            **{key: {"source": "object"} for key, value in given.items() if value is not None},
            **recipe,
        }
    loaded = recipe if isinstance(recipe, LoadedRecipe) else load_recipe(recipe, overrides=overrides)
    folder = Path(output) if output is not None else Path("build") / loaded.recipe.name
    with loaded.locating():
        return run_recipe(
            loaded,
            output=folder,
            log=log or SilentLog(),
            cache=cache,
            model=model,
            data=data,
            named=output is not None,
        )

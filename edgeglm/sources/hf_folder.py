"""What must lie in the folder of a transformers checkpoint, found without importing transformers."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeglm.errors import MissingExtraError, ModelError
from edgeglm.files import tidied
from edgeglm.sources.lfs import refuse_lfs_pointer
from edgeglm.sources.tokenizer_file import greatest_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeglm.data.splits import Arrays
    from edgeglm.model import Model
    from edgeglm.recipe.types import ProcessStep
    from edgeglm.sources.entry import Entries
    from edgeglm.sources.hf import HfModel

WEIGHTS = "model.safetensors"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
PACKAGE = "package:"  # a path that starts so lies in an installed package: package:name/folder
_KEY = "model.path"
# by `model_type`: encoders that look positions up in a table, which ends; the second count from behind `pad_token_id`
_POSITIONS = frozenset(
    {"albert", "bert", "bert-generation", "convbert", "distilbert", "electra", "ernie", "mobilebert", "squeezebert"}
)
_POSITIONS_BEHIND_PADDING = frozenset(
    {"camembert", "data2vec-text", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"}
)


def load_encoder(config: HfModel, entries: Entries, sample: Arrays) -> Model:
    """Return the encoder after one batch.

    Raises:
        ModelError: The folder lacks a file, holds no encoder, its weights do not fit, or it refuses the batch.
        MissingExtraError: transformers is not installed.
    """
    folder = checkpoint_folder(entries.folder, config.path)
    check_folder(folder, where=str(folder))
    if find_spec("transformers") is None:
        raise MissingExtraError("`source: hf` needs transformers, not installed here", hint="pip install 'edgeglm[hf]'")
    from edgeglm.artifacts.quiet import silenced
    from edgeglm.nn.encoders import build_encoder
    from edgeglm.nn.loading import build_python_model

    pooling = config.pooling if config.task == "embedding" else None
    with silenced():  # transformers shows progress and reports, and warns of packages that it does without
        encoder = build_encoder(folder, pooling=pooling, normalise=config.normalise, where=str(folder))
    return build_python_model(encoder, None, sample, where=_KEY)


def checkpoint_folder(base: Path, path: str) -> Path:
    """Return the folder that `model.path` names.

    Args:
        base: The recipe's folder.
        path: Relative to it, or ``package:name/folder`` of an installed package, of which no code is run.

    Raises:
        MissingExtraError: The package is not installed.
    """
    if not path.startswith(PACKAGE):
        return tidied(base / path)
    name, _, below = path.removeprefix(PACKAGE).partition("/")
    found = find_spec(name) if name.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            f"the package `{name}`, whose folder `{below}` holds the model, is not installed here",
            where=_KEY,
            hint=f"pip install {name.replace('_', '-')}",
        )
    if ".." in Path(below).parts:
        raise ModelError(
            f"`{below}` leads out of the package `{name}`",
            where=_KEY,
            hint="name a folder within the package, or give the path of the folder itself",
            code="model-file-missing",
        )
    return Path(next(iter(found.submodule_search_locations))) / below


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of a classifier's outputs in their order; none where they are but `LABEL_0`, `LABEL_1`, ...

    Raises:
        ModelError: A file of the checkpoint is missing or damaged.
    """
    folder = tidied(folder)
    named = check_folder(folder, where=str(folder)).get("id2label")
    if not isinstance(named, dict) or not all(str(number) in named for number in range(len(named))):
        return ()
    names = tuple(str(named[str(number)]) for number in range(len(named)))
    return () if all(name == f"LABEL_{number}" for number, name in enumerate(names)) else names


def check_folder(folder: Path, *, where: str) -> dict[str, Any]:
    """Return what config.json says, once every file is known to be there.

    Args:
        folder: Of the checkpoint.
        where: What to call it in an error.

    Raises:
        ModelError: The folder, its config.json or its model.safetensors is missing or damaged.
    """
    if not folder.is_dir():
        raise ModelError(
            "is a file, not a folder" if folder.exists() else "no such folder",
            where=where,
            hint="`model.path` names the folder that holds config.json and model.safetensors, relative to the recipe; "
            "nothing is downloaded",
            code="model-file-missing",
        )
    if not (folder / "config.json").is_file():
        near = [path.parent.name for path in sorted(folder.glob("*/config.json"))]
        raise ModelError(
            "there is no config.json in this folder: a text encoder of transformers has one, and model.safetensors",
            where=where,
            hint=f"did you mean its folder `{near[0]}`?" if near else "`model.save_pretrained(folder)` writes one",
            code="model-file-missing",
        )
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"config.json cannot be read: {error}",
            where=where,
            hint="copy the folder again",
            code="hf-config",
        ) from error
    if not isinstance(said, dict) or not isinstance(said.get("model_type"), str):
        raise ModelError(
            "config.json names no `model_type`",
            where=where,
            hint="name the folder of a transformers checkpoint; one of sentence-transformers has it at its top",
            code="hf-config",
        )
    if not (folder / WEIGHTS).is_file():
        raise _weights_missing(folder, where)
    refuse_lfs_pointer(folder / WEIGHTS, where)
    return said


def most_tokens(said: Mapping[str, Any]) -> int | None:
    """Return how many tokens an encoder has positions for; None: it has no table of positions that would say so.

    Args:
        said: Its config.json.
    """
    positions, kind, padding = (said.get(key) for key in ("max_position_embeddings", "model_type", "pad_token_id"))
    if not isinstance(positions, int) or positions < 1:
        return None
    if kind in _POSITIONS_BEHIND_PADDING:
        return positions - 1 - (padding if isinstance(padding, int) else 1)
    return positions if kind in _POSITIONS else None


def check_length(said: Mapping[str, Any], operations: Sequence[ProcessStep]) -> None:
    """Refuse texts that are padded to more tokens than an encoder has positions for.

    Args:
        said: The encoder's config.json.
        operations: The recipe's `preprocess`.

    Raises:
        ModelError: At the key of the length (``model-positions``).
    """
    most = most_tokens(said)
    for index, step in enumerate(operations):
        length = step.settings.get("length") if step.op == "tokenize" else None
        if most is not None and isinstance(length, int) and length > most:
            raise ModelError(
                f"texts are padded to {length} tokens, and the model has positions for {most}",
                where=f"preprocess[{index}].tokenize.length",
                hint=f"write {most} or less; longer texts are cut (`truncation`)",
                code="model-positions",
            )


def check_classes(said: Mapping[str, Any], labels: Sequence[str]) -> None:
    """Refuse more or fewer labels than a classifier has outputs.

    Args:
        said: The encoder's config.json. transformers leaves out what is its default: two classes without names.
        labels: The recipe's; empty: none.

    Raises:
        ModelError: At the labels (``labels-mismatch``).
    """
    named, count = said.get("id2label"), said.get("num_labels")
    outputs = len(named) if isinstance(named, dict) else count if isinstance(count, int) else 2
    if labels and len(labels) != outputs:
        raise ModelError(
            f"there are {len(labels)} labels, and the model has {outputs} classes by its config.json",
            hint="one label for each output of the model, in the order of its outputs",
            where="labels",
            code="labels-mismatch",
        )


def check_vocabulary(said: Mapping[str, Any], operations: Sequence[ProcessStep], base: Path) -> None:
    """Refuse a tokenizer that makes token numbers which an encoder has no row for in its table.

    Args:
        said: The encoder's config.json.
        operations: The recipe's `preprocess`.
        base: The recipe's folder.

    Raises:
        ModelError: At the key of the tokenizer (``model-vocabulary``).
    """
    rows = said.get("vocab_size")
    for index, step in enumerate(operations):
        if step.op != "tokenize" or not isinstance(rows, int):
            continue
        written = str(step.settings["tokenizer"])
        token, number = greatest_token(tidied(base / written))
        if number >= rows:
            raise ModelError(
                f"`{written}` numbers its tokens from 0 to {number} (`{token}`), and the model's table of embeddings "
                f"has {rows} rows (`vocab_size` in its config.json)",
                where=f"preprocess[{index}].tokenize.tokenizer",
                hint="name the tokenizer that the model was trained with; after tokens were added to it, the model "
                "must be saved with `resize_token_embeddings`",
                code="model-vocabulary",
            )


def _weights_missing(folder: Path, where: str) -> ModelError:
    others = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLED)
    if others:
        return ModelError(
            f"there is no {WEIGHTS} in this folder, and {others[0]} may hold any code: it is not loaded",
            where=where,
            hint="if you trust it, write the weights anew where it was trained: "
            "`AutoModel.from_pretrained(folder).save_pretrained(folder)` of a current transformers writes safetensors",
            code="weights-pickle",
        )
    if (folder / f"{WEIGHTS}.index.json").is_file():
        message = f"the weights lie in several files, and one {WEIGHTS} is wanted"
        hint = '`model.save_pretrained(folder, max_shard_size="100GB")` writes one file'
    else:
        message, hint = f"there is no {WEIGHTS} in this folder", "copy the whole folder; nothing is downloaded"
    return ModelError(message, where=where, hint=hint, code="weights-missing")

from __future__ import annotations

import pytest

from edgeglm.recipe import Quantize
from edgeglm.steps import Distill, Finetune, Prune
from tests.support.recipes import MINIMAL, fault, faults, parse

TEXT = MINIMAL + "steps:\n  - prune: {channel_ratio: 0.5}\n  - distill: {epochs: 3}\n"


def test_a_value_is_replaced_before_validation() -> None:
    recipe = parse(TEXT, "steps[0].prune.channel_ratio=0.3", "name=other", "labels=[a, b]").recipe
    assert recipe.steps[0] == Prune(channel_ratio=0.3)
    assert (recipe.name, recipe.labels) == ("other", ["a", "b"])


def test_a_wrong_value_in_the_file_is_mended_by_an_override() -> None:
    assert parse(TEXT.replace("name: tiny", "name: 5"), "name=tiny").recipe.name == "tiny"


def test_the_last_of_two_overrides_of_one_key_wins() -> None:
    assert parse(TEXT, "seed=1", "seed=2").recipe.seed == 2


def test_missing_mappings_are_made() -> None:
    recipe = parse(TEXT, "budget.size_mb=5", "steps[1].distill.alpha=1", "golden.source=synthetic").recipe
    assert recipe.budget.size_mb == 5.0
    assert recipe.steps[1] == Distill(epochs=3, alpha=1.0)
    assert recipe.golden.source == "synthetic"


def test_an_empty_value_is_gone_into() -> None:
    assert parse(MINIMAL + "budget:\n", "budget.size_mb=5").recipe.budget.size_mb == 5.0
    assert parse(MINIMAL + "steps:\n  - finetune:\n", "steps[0].finetune.epochs=2").recipe.steps == [Finetune(epochs=2)]


def test_a_scheme_that_is_one_word_is_gone_into() -> None:
    recipe = parse(
        TEXT.replace("format: onnx", "format: onnx, quantize: fp16"), "artifacts[0].quantize.ignore=[a]"
    ).recipe
    assert recipe.artifacts[0].quantize == Quantize(scheme="fp16", ignore=["a"])


def test_a_whole_list_can_be_set() -> None:
    assert parse(TEXT, "steps=[{finetune: {epochs: 1}}]").recipe.steps == [Finetune(epochs=1)]
    assert parse(TEXT, "steps=[]").recipe.steps == []


def test_the_value_may_hold_an_equals_sign() -> None:
    assert parse(TEXT, "provenance.origin=a=b").recipe.provenance.origin == "a=b"


def test_an_empty_value_is_null() -> None:
    assert parse(TEXT + "threads: 3\n", "threads=").recipe.threads is None


@pytest.mark.parametrize(
    ("override", "where", "message", "hint"),
    [
        ("seed", "seed", "no `=` in it", "--set key=value"),
        ("=3", "", "not a key path", "steps[0].prune"),
        ("a..b=1", "a..b", "not a key path", ""),
        (".a=1", ".a", "not a key path", ""),
        ("steps[x].prune=1", "steps[x].prune", "not a key path", ""),
        ("[0]=1", "[0]", "not a key path", ""),
        ("steps[2].prune.scope=local", "steps[2].prune.scope", "`steps` has 2 items", "`steps[1]`"),
        ("preprocess[0].grey=1", "preprocess[0].grey", "no list `preprocess`", "set it whole"),
        ("stepss[0].prune=1", "stepss[0].prune", "no list `stepss`", "did you mean `steps`?"),
        ("steps[0].prun.scope=local", "steps[0].prun.scope", "`steps[0]` is `prune`, not `prun`", "`steps[0].prune`?"),
        ("name.x=1", "name.x", "`name` is not a mapping", "set it whole: --set name=..."),
        ("name[0]=1", "name[0]", "`name` is not a list", ""),
        ("steps.prune=1", "steps.prune", "`steps` is not a mapping", ""),
        ("labels=[a", "labels", "not YAML", "not closed"),
        ("labels={a: 1, a: 2}", "labels", "`a` is there twice", ""),
    ],
)
def test_an_override_that_cannot_be_applied_is_an_error(override: str, where: str, message: str, hint: str) -> None:
    problem = faults(TEXT, override)[0]
    assert problem.where == f"--set {where}"
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("override", "where", "hint"),
    [
        ("steps[0].prune.channel_ratio=2", "steps[0].prune.channel_ratio", "share of channels"),
        ("budgt.size_mb=3", "budgt", "did you mean `budget`?"),
        ("target=rpi6", "target", "did you mean `rpi5`?"),
        ("budget={size: 3}", "budget.size", "did you mean `size_mb`?"),
    ],
)
def test_an_overridden_value_that_is_wrong_names_the_command_line(override: str, where: str, hint: str) -> None:
    problem = fault(TEXT, override)
    assert problem.where == f"--set {where}"
    assert hint in problem.hint


def test_all_faults_of_file_and_overrides_are_shown_at_once() -> None:
    found = [problem.where for problem in faults(TEXT + "sed: 1\n", "foo", "seed=x")]
    assert found == ["--set foo", "--set seed", "kws/recipe.yaml:11"]

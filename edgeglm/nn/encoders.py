"""Text encoders of transformers as networks that can be exported: explicit attention, pooling inside the graph."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeglm.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

Pooling = Literal["mean", "cls", "max"]

# Spelt-out attention: of all-MiniLM-L6-v2 `sdpa` makes an ONNX graph of 266 nodes in place of 212 (a guard against NaN
# in each layer); in TFLite the two are the same but for 6 multiplications. Both export, and both heed the mask.
ATTENTION = "eager"
_FEWEST_TOKENS = 1e-9  # a text without any token would divide by 0


class Embedder(nn.Module):
    """An encoder whose tokens are pooled into one vector a text.

    Source: Reimers and Gurevych 2019, arXiv:1908.10084, section 3 (pooling strategies).
    """

    def __init__(self, backbone: nn.Module, *, pooling: Pooling, normalise: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.normalise = normalise

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``embedding`` (N, hidden size) of token numbers (N, T); the mask is 0 where a row is padded."""
        hidden = _run(self.backbone, input_ids, attention_mask, token_type_ids).last_hidden_state  # (N, T, H)
        pooled = pool(hidden, attention_mask, self.pooling)
        return {"embedding": F.normalize(pooled, dim=-1) if self.normalise else pooled}


class Classifier(nn.Module):
    """An encoder with its own head of classes."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``logits`` (N, classes) of token numbers (N, T); the mask is 0 where a row is padded."""
        return {"logits": _run(self.backbone, input_ids, attention_mask, token_type_ids).logits}


class UntypedEmbedder(Embedder):
    """An embedder of an encoder that knows no token types, such as DistilBERT."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Return ``embedding`` (N, hidden size) of token numbers (N, T)."""
        return super().forward(input_ids, attention_mask)


class UntypedClassifier(Classifier):
    """A classifier of an encoder that knows no token types."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Return ``logits`` (N, classes) of token numbers (N, T)."""
        return super().forward(input_ids, attention_mask)


def pool(hidden: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """Return one vector (N, H) for the tokens (N, T, H) of each text; those with mask 0, on the right, do not count."""
    if pooling == "cls":
        return hidden[:, 0]
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (N, T, 1)
    if pooling == "max":
        # padding stands aside as copies of the first token: a very negative number would be part of INT8's range
        return (hidden * mask + hidden[:, :1] * (1.0 - mask)).amax(dim=1)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=_FEWEST_TOKENS)


def build_encoder(folder: Path, *, pooling: Pooling | None, normalise: bool, where: str) -> nn.Module:
    """Return the encoder of a checkpoint's folder, in eval mode, in float32.

    Args:
        folder: With config.json and model.safetensors.
        pooling: How tokens become one vector; None: the checkpoint's own head of classes is what counts.
        normalise: Whether such vectors get length 1.
        where: The folder, for errors.

    Raises:
        ModelError: The architecture is no text encoder that transformers has, or the weights do not fit it.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    config = _config(transformers, modeling_auto, folder, where)
    auto: Any = transformers.AutoModel if pooling else transformers.AutoModelForSequenceClassification
    try:
        backbone, loading = auto.from_pretrained(
            folder,
            config=config,
            attn_implementation=ATTENTION,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told apart below, by name
        )
    except Exception as error:  # the folder's content: whatever transformers makes of it
        raise _unloadable(error, where) from error
    missing = sorted(name for name in loading["missing_keys"] if not _unused(name, pooling))
    mismatched = sorted(str(entry[0]) for entry in loading["mismatched_keys"])
    if missing or mismatched:
        raise _unfitting(missing, mismatched, pooling, where)
    if pooling and getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None  # its answer would be thrown away: it must not count as parameters
    typed = "token_type_ids" in inspect.signature(backbone.forward).parameters
    network: nn.Module
    if pooling:
        network = (Embedder if typed else UntypedEmbedder)(backbone, pooling=pooling, normalise=normalise)
    else:
        network = (Classifier if typed else UntypedClassifier)(backbone)
    return network.eval()


def _run(backbone: nn.Module, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None) -> Any:
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    if token_type_ids is not None:
        inputs["token_type_ids"] = token_type_ids
    return backbone(**inputs)


def _config(transformers: Any, modeling_auto: Any, folder: Path, where: str) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"transformers {transformers.__version__} knows no such architecture: {_first_line(error)}",
            where=where,
            hint="code that lies in a checkpoint is never run: build the network with `source: python`",
            code="hf-architecture",
        ) from error
    kind = config.model_type
    generates = kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    encodes = kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if config.is_encoder_decoder or getattr(config, "is_decoder", False) or (generates and not encodes):
        raise ModelError(
            f"`{kind}` generates text, and encoders alone are taken",
            where=where,
            hint="name an encoder (BERT, DistilBERT, RoBERTa, MPNet, MiniLM, ...)",
            code="hf-architecture",
        )
    if not encodes:
        raise ModelError(
            f"`{kind}` is no encoder of text",
            where=where,
            hint="name an encoder (BERT, DistilBERT, RoBERTa, MPNet, MiniLM, ...); build any other network with "
            "`source: python`",
            code="hf-architecture",
        )
    return config


def _unused(name: str, pooling: Pooling | None) -> bool:
    """Tell whether a weight that the file lacks is one that the answers do not depend on."""
    return pooling is not None and name.split(".")[0] == "pooler"


def _unfitting(missing: list[str], mismatched: list[str], pooling: Pooling | None, where: str) -> ModelError:
    said = []
    if missing:
        said.append(f"it lacks {', '.join(missing[:4])}" + (f" and {len(missing) - 4} more" if missing[4:] else ""))
    if mismatched:
        said.append(f"of another shape: {', '.join(mismatched[:4])}")
    headless = pooling is None and missing and not mismatched and all("layer." not in name for name in missing)
    return ModelError(
        f"model.safetensors does not fit config.json: {'; '.join(said)}",
        where=where,
        hint="this checkpoint has no head of classes: fine-tune one first, or write `task: embedding`"
        if headless
        else "take config.json and model.safetensors from one checkpoint",
        code="weights-mismatch",
    )


def _unloadable(error: Exception, where: str) -> ModelError:
    return ModelError(
        f"transformers cannot load it: {_first_line(error)}",
        where=where,
        hint="the folder may be incomplete or damaged: copy it again",
        code="weights-corrupt",
    )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

"""Settings that every training step shares."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from edgeglm.patterns import broken_patterns
from edgeglm.steps._base import StepConfig


class TrainingConfig(StepConfig, frozen=True, kw_only=True):
    """How a step trains; schedules count optimizer steps, never seconds."""

    trains: ClassVar[bool] = True

    epochs: Annotated[int, Meta(ge=1)]  # passes over the training data
    batch_size: Annotated[int, Meta(ge=1)] = 64  # samples of one optimizer step
    optimizer: Literal["adamw", "sgd"] = "adamw"  # both with a cosine schedule
    learning_rate: Annotated[float, Meta(gt=0)] = 1e-3  # peak
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-4  # of the optimizer
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.9  # sgd only
    warmup_steps: Annotated[int, Meta(ge=0)] | None = None  # None: 5 % of all steps
    clip_norm: Annotated[float, Meta(gt=0)] | None = 1.0  # of all gradients together; null: no clipping
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0  # share of each label that is spread over all classes
    early_stop_epochs: Annotated[int, Meta(ge=1)] | None = None  # stop after this many epochs without a better metric
    validation_fraction: Annotated[float, Meta(gt=0, lt=1)] = 0.1  # of train, held out to choose the best weights
    qat: bool = False  # compute with weights and inputs rounded as static INT8 will round them
    dropout: Annotated[float, Meta(ge=0, lt=1)] | None = None  # share that every dropout takes; None: the network's own
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: by a timing; name one to repeat a run
    freeze: list[str] = []  # layers that do not learn: names, or "re:" patterns such as "re:.*embeddings"
    augment: str | None = None  # path.py:function taking (inputs, generator), a batch at a time

    def problems(self) -> list[tuple[str, str, str]]:
        """Return the patterns of ``freeze`` that are none."""
        return broken_patterns("freeze", self.freeze)

    @property
    def follows_target(self) -> bool:
        """Whether the result is another for another board: rounding is the board's."""
        return self.qat

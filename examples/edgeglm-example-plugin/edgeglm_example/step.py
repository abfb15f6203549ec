"""A step: the last layer fitted anew, in closed form."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta

from edgeglm.errors import StepError
from edgeglm.steps import StepConfig

if TYPE_CHECKING:
    from edgeglm.model import Model
    from edgeglm.steps import Context


class RefitHead(StepConfig, tag="refit-head", frozen=True, kw_only=True):
    """Fit the last layer to the training targets again by ridge regression, as pruning left the others."""

    trains: ClassVar[bool] = True  # so `check` does not ask for training after `prune`

    ridge: Annotated[float, Meta(ge=0)] = 1e-3  # weight of the squared weights
    samples: Annotated[int, Meta(ge=1)] = 10_000  # of the training split, at most

    def problems(self) -> list[tuple[str, str, str]]:
        """Return what is wrong between settings; each is told with the line of its field."""
        if self.ridge == 0 and self.samples < 100:
            return [("ridge", "too few samples to fit without it", "give it a value such as 1e-3")]
        return []

    def apply(self, model: Model, ctx: Context) -> Model:
        """Return a new model; the one passed in is left as it was."""
        import torch  # heavy: only when it runs

        network = deepcopy(model.module)
        if not (isinstance(network, torch.nn.Sequential) and isinstance(network[-1], torch.nn.Linear)):
            raise StepError("the network does not end in a linear layer", where=ctx.key, hint="remove the step")
        split = ctx.data.splits["train"]
        limit = 64 if ctx.dry_run else self.samples  # preflight only wants to see that it works
        rows = np.arange(min(len(split), limit))
        (inputs,) = split.rows(rows).values()
        if split.targets is None:
            raise StepError("the training split has no targets", where=ctx.key, hint="give it some")
        head, wanted = network[-1], torch.from_numpy(split.targets[rows]).double()  # (N, K)
        with torch.no_grad():
            seen = network[:-1](torch.from_numpy(inputs)).double()
            design = torch.cat([seen, torch.ones(len(seen), 1)], dim=1)  # (N, features + 1)
            penalty = self.ridge * torch.eye(design.shape[1])
            solution = torch.linalg.solve(design.T @ design + penalty, design.T @ wanted)
            before = (head(seen.float()) - wanted).square().mean()
            head.weight.copy_(solution[:-1].T)
            head.bias.copy_(solution[-1])
            after = (head(seen.float()) - wanted).square().mean()
        ctx.notes.append(f"squared error on {len(rows):,} training samples: {before:.4g} before, {after:.4g} after")
        return model.with_module(network)  # with edits, where shapes change: see edgeglm.nn.structure

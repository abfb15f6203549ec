"""Learning from features inside the teacher, as well as from its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeglm.errors import StepError
from edgeglm.nn.blocks import find_blocks, outermost
from edgeglm.nn.calling import call
from edgeglm.patterns import nearest_names

if TYPE_CHECKING:
    from types import TracebackType

_MASK = "attention_mask"


class HiddenMatch:
    """Features of pairs of layers, and how far the student's are from the teacher's.

    Where the widths differ, a linear map without bias is learnt along with the student, and thrown away afterwards.
    Use it as a context: outside of it no hooks are left.

    Source: Jiao et al. 2020, TinyBERT, arXiv:1909.10351, section 3.1, equation 8 (layers of transformers); Romero et
    al. 2015, FitNets, arXiv:1412.6550, section 2.2 (the map).
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, pairs: dict[str, str], inputs: dict[str, Tensor], *, where: str
    ) -> None:
        """Run both once and see which features have to be mapped.

        Args:
            student: The network that learns, on its device.
            teacher: The one that it learns from, on the same.
            pairs: Layer of the student -> layer of the teacher.
            inputs: A few rows by input name.
            where: For errors.

        Raises:
            StepError: ``distill-hidden-mismatch``: a pair's features have different shapes beside their widths.
        """
        self.pairs = pairs
        self._seen: dict[tuple[str, str], Tensor] = {}
        self._hooks = [
            network.get_submodule(name).register_forward_hook(self._keeper(role, name))
            for role, network, names in (
                ("student", student, pairs),
                ("teacher", teacher, dict.fromkeys(pairs.values())),
            )
            for name in names
        ]
        self.maps = nn.ModuleList()
        try:
            with torch.no_grad():
                call(student.eval(), inputs)
                call(teacher, inputs)
            for mine, theirs in pairs.items():
                self.maps.append(self._map(mine, theirs, where))
        except BaseException:
            self.__exit__()
            raise
        self.maps.to(next(iter(inputs.values())).device)

    def __enter__(self) -> HiddenMatch:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def loss(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the mean over the pairs of the squared difference, as a share of the teacher's squared features.

        Both networks must have been run on these inputs. Positions that an ``attention_mask`` leaves out do not count.
        """
        total = torch.zeros((), device=next(iter(inputs.values())).device)
        for (mine, theirs), mapped in zip(self.pairs.items(), self.maps, strict=True):
            student = mapped(self._seen["student", mine].float())
            teacher = self._seen["teacher", theirs].float()
            counts: Tensor | float = 1.0
            mask = inputs.get(_MASK)
            if mask is not None and teacher.ndim == 3 and teacher.shape[:2] == mask.shape:
                counts = mask.unsqueeze(-1).float()
            total = total + ((student - teacher).square() * counts).sum() / (teacher.square() * counts).sum()
        return total / len(self.pairs)

    def _keeper(self, role: str, name: str) -> Any:
        def keep(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            found = output[0] if isinstance(output, tuple) else output
            if isinstance(found, Tensor):
                self._seen[role, name] = found

        return keep

    def _map(self, mine: str, theirs: str, where: str) -> nn.Module:
        found = [self._seen.get(place) for place in (("student", mine), ("teacher", theirs))]
        student, teacher = found
        if student is None or teacher is None:
            name = mine if student is None else theirs
            raise StepError(
                f"`{name}` was not run, or answers with no tensor",
                where=f"{where}.hidden",
                code="distill-hidden-mismatch",
                hint="name layers that forward() calls, and that return one tensor",
            )
        axis = 1 if student.ndim == 4 else -1
        alike = student.ndim == teacher.ndim and all(
            a == b
            for at, (a, b) in enumerate(zip(student.shape, teacher.shape, strict=True))
            if at != axis % student.ndim
        )
        if not alike:
            raise StepError(
                f"features of `{mine}` are {tuple(student.shape)} and those of `{theirs}` {tuple(teacher.shape)}: only "
                "their widths may differ",
                where=f"{where}.hidden",
                code="distill-hidden-mismatch",
                hint="pair layers of the same depth in both networks",
            )
        widths = student.shape[axis], teacher.shape[axis]
        if widths[0] == widths[1]:
            return nn.Identity()
        return nn.Conv2d(*widths, 1, bias=False) if axis == 1 else nn.Linear(*widths, bias=False)


def pairs_of(
    wanted: dict[str, str] | str, student: nn.Module, teacher: nn.Module, inputs: dict[str, Tensor], *, where: str
) -> dict[str, str]:
    """Return layer of the student -> layer of the teacher.

    Args:
        wanted: The pairs, or "even": the student's blocks are spread over the teacher's, the last with the last.
        student: The network that learns.
        teacher: The one that it learns from.
        inputs: A few rows by input name.
        where: For errors.

    Raises:
        StepError: ``distill-hidden-unknown``: a layer is not there, or no blocks are found for "even".
    """
    if isinstance(wanted, str):
        mine, theirs = ([block.name for block in outermost(find_blocks(net, inputs))] for net in (student, teacher))
        if not mine or len(mine) > len(theirs):
            raise StepError(
                f"`even` pairs blocks of both networks: {len(mine)} were found in the student, {len(theirs)} in the "
                "teacher",
                where=f"{where}.hidden",
                code="distill-hidden-unknown",
                hint="name the pairs: `hidden: {student_layer: teacher_layer}`",
            )
        share = len(theirs) / len(mine)
        return {name: theirs[int((index + 1) * share + 0.5) - 1] for index, name in enumerate(mine)}
    for names, network, what in ((wanted, student, "student"), (wanted.values(), teacher, "teacher")):
        known = [name for name, _ in network.named_modules() if name]
        for name in names:
            if name not in known:
                raise StepError(
                    f"the {what} has no layer `{name}`",
                    where=f"{where}.hidden",
                    code="distill-hidden-unknown",
                    hint=f"{nearest_names(name, known)} (a step before this one may have left it out)",
                )
    return dict(wanted)

"""Tasks of packages: what they raise, or return, is that package's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeglm.plugins import blaming, fault, is_own
from edgeglm.report.types import SplitResult
from edgeglm.tasks import GROUP
from edgeglm.tasks.changes import Changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm_agent.processing import Postprocess

    from edgeglm.data.splits import Arrays, Split
    from edgeglm.sources.entry import Entries
    from edgeglm.tasks import Judge, TaskConfig


def bind_task(task: TaskConfig, *, entries: Entries, postprocess: Postprocess) -> Judge:
    """Return what judges the run. Raises: UserError, as the task says, or ``task-failed``, then and later."""
    with blaming(task, GROUP, where="task"):
        judge = task.bind(entries=entries, postprocess=postprocess)
    return judge if is_own(type(task)) else PackageJudge(task, judge)


@dataclass(frozen=True)
class PackageJudge:
    """What a package's task judges by, looked at whenever it is asked."""

    task: TaskConfig
    judge: Judge

    def prepared(self, outputs: Arrays, split: Split) -> Arrays:
        """Return what is judged. Raises: UserError, ``task-failed``."""
        with blaming(self.task, GROUP, where="task"):
            found: object = self.judge.prepared(outputs, split)
        if not isinstance(found, dict):
            raise self._returned("prepared", found, "a dict of arrays")
        return found

    def evaluate(
        self, outputs: Arrays, targets: np.ndarray | None, labels: Sequence[str], baseline: Arrays | None = None
    ) -> SplitResult:
        """Return the result, in plain numbers. Raises: UserError, ``task-failed``."""
        with blaming(self.task, GROUP, where="task"):
            found: object = self.judge.evaluate(outputs, targets, labels, baseline)
        if not isinstance(found, SplitResult):
            raise self._returned("evaluate", found, "a SplitResult")
        try:
            return msgspec.convert(msgspec.to_builtins(found, enc_hook=_plain), SplitResult)
        except (TypeError, msgspec.ValidationError) as error:  # a field of another type would fail as it is written
            raise fault(self.task, GROUP, f"returned a SplitResult that is none: {error}", where="task") from error

    def changes(self, before: Arrays, after: Arrays, targets: np.ndarray | None, labels: Sequence[str]) -> Changes:
        """Return what changed. Raises: UserError, ``task-failed``."""
        with blaming(self.task, GROUP, where="task"):
            told = getattr(self.judge, "changes", self.task.changes)  # what is bound may lack it
            found: object = told(before, after, targets, labels)
        if not isinstance(found, Changes):
            raise self._returned("changes", found, "a Changes")
        return found

    def outputs_read(self, outputs: Arrays) -> Arrays:
        """Return what answers are made from. Raises: UserError, ``task-failed``."""
        with blaming(self.task, GROUP, where="task"):
            read = getattr(self.judge, "outputs_read", self.task.outputs_read)  # what is bound may lack it
            found: object = read(outputs)
        if not isinstance(found, dict) or not all(isinstance(one, np.ndarray) for one in found.values()) or not found:
            raise self._returned("outputs_read", found, "a dict that holds arrays")
        return found

    def _returned(self, method: str, found: object, wanted: str) -> Exception:
        return fault(
            self.task,
            GROUP,
            f"returned a {type(found).__name__} from `{method}`, not {wanted}",
            where="task",
            mend=f"`edgeglm.tasks.TaskConfig.{method}` says what it returns",
        )


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no number")

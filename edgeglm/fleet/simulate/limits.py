"""How many connections this process may hold."""

from __future__ import annotations

import resource

from edgeglm.errors import EnvironmentFailedError

_SPARE = 64  # files that a process has open beside its connections


def allow_connections(count: int) -> None:
    """Raise this process's limit of open files to what it needs, as far as it may.

    Raises:
        EnvironmentFailedError: The hard limit is below that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _SPARE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        processes = -(-needed // max(1, hard - _SPARE))
        raise EnvironmentFailedError(
            f"{count} devices in one process need {needed} open files; it may have {hard}",
            hint=f"`--processes {processes}`, or fewer `--devices`, or `ulimit -Hn {needed}` as root",
            code="too-few-files",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))

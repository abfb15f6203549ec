"""Same seed, same threads: same numbers."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Use this many threads and deterministic kernels inside; leave torch as it was found.

    Sums are split by thread, so the thread count is part of what decides the last bits of a result.
    """
    threads_before = torch.get_num_threads()
    strict_before = torch.are_deterministic_algorithms_enabled()
    warn_before = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark_before = torch.backends.cudnn.benchmark
    fill_before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it before it is deterministic
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time on each step
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(strict_before, warn_only=warn_before)
        torch.backends.cudnn.benchmark = benchmark_before
        torch.utils.deterministic.fill_uninitialized_memory = fill_before  # type: ignore[attr-defined]


def seed_all(*seeds: int) -> None:
    """Seed Python, NumPy and torch from these numbers together, so that (0, 1) and (1, 0) differ.

    Called before every training step with (seed, step), it makes what is drawn in a step depend on nothing that
    came before: a run that was killed goes on with the same draws.
    """
    state = np.random.SeedSequence(seeds).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))  # the users' data sets draw from the global generator
    # torch.manual_seed would queue a call with a traceback for every kind of device that is not in use
    torch.default_generator.manual_seed(int(state[2]))
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(int(state[2]))

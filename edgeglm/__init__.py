"""edgeglm: one recipe makes a trained model small and fast for edge boards, and proves what that cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeglm_agent.offline import go_offline

if TYPE_CHECKING:
    from edgeglm.api import compress as compress
    from edgeglm.recipe import load_recipe as load_recipe

go_offline()  # before any library that would phone home is imported

__version__ = "0.1.0"
__all__ = ["__version__", "compress", "load_recipe"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: `import edgeglm` alone must not cost torch."""
    if name == "compress":
        from edgeglm.api import compress

        return compress
    if name == "load_recipe":
        from edgeglm.recipe import load_recipe

        return load_recipe
    raise AttributeError(f"module 'edgeglm' has no attribute {name!r}")

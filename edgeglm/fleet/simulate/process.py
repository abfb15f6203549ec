"""One process of a simulation: ``python -m edgeglm.fleet.simulate.process``, started by the run."""

from __future__ import annotations

from edgeglm.fleet.simulate.session import serve_as_process

if __name__ == "__main__":
    serve_as_process()

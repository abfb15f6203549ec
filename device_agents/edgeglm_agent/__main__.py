"""``python -m edgeglm_agent``: the command line."""

import sys

from edgeglm_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())

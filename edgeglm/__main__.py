"""`python -m edgeglm`."""

from edgeglm.cli import main

main()

"""The other end of the wire: broker, collector, store, and what is seen of the boards.

boards -> broker -> collector (intake, commit, acknowledge) -> store -> health, command line
"""

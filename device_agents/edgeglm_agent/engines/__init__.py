"""The runtimes a board may have, behind one small interface."""

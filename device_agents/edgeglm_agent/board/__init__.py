"""What the board says of itself: one file a kind of board; every reader takes a sysroot, none fails for a file."""

"""A package of its own: a library that installs another one named ``tests`` must not hide it."""

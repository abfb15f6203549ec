"""The device half of edgeglm: wire types, processing, engines. Imports neither torch nor the SDK."""

__version__ = "0.1.0"

"""Latency, memory, parity and census, each runtime in a process of its own."""

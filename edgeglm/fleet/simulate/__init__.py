"""Simulated boards: a load generator that speaks the real wire.

profile -> boards (what each says, and when) -> connections -> broker
"""

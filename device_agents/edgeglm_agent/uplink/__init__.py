"""The way to the broker and back: rows out, acknowledgements, commands and inputs in."""

from edgeglm_agent.uplink.client import Uplink
from edgeglm_agent.uplink.commands import Order
from edgeglm_agent.uplink.timing import Timing

__all__ = ["Order", "Timing", "Uplink"]

"""What waits on disk until the collector has it."""

from edgeglm_agent.outbox.file import OutboxBusyError
from edgeglm_agent.outbox.outbox import Outbox
from edgeglm_agent.outbox.rows import EVENTS, METRICS, PRIORITIES, SAMPLES

__all__ = ["EVENTS", "METRICS", "PRIORITIES", "SAMPLES", "Outbox", "OutboxBusyError"]

"""How long things may take between board and broker."""

from __future__ import annotations

import msgspec


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long things may take, in seconds; tests are quicker."""

    first_retry_s: float = 2.0  # before the second attempt to connect; doubled each time, and jittered
    longest_retry_s: float = 300.0
    stable_s: float = 60.0  # a connection that lived so long begins the back-off anew
    taken_s: float = 60.0  # for the broker to answer a publish; then the connection is taken to be dead
    grace_s: float = 30.0  # for an acknowledgement beyond what the collector was asked for
    first_probe_s: float = 30.0  # after an overdue batch was sent again; doubled while nothing is acknowledged
    longest_probe_s: float = 900.0
    first_pause_s: float = 10.0  # after the broker refused a message: on its topic; doubled
    longest_pause_s: float = 3600.0
    linger_s: float = 1.5  # that a window waits for those of other slots, to go with them
    soon_s: float = 2.0  # what the collector is asked for events, samples, and all but the last of a backlog
    horizon_s: float = 3600.0  # windows that the budget would hold up longer are merged
    longest_saving_s: float = 3600.0  # before a connection, while connections use up the budget
    look_s: float = 10.0  # between looks at how much a board over its budget has waiting
    conflict_s: float = 600.0  # before a connection that another agent of this name would end; doubled
    longest_conflict_s: float = 3600.0

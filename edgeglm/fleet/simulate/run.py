"""One process of a run: devices that connect, speak in their time, come back when they were lost, and are counted."""

from __future__ import annotations

import asyncio
import heapq
import resource
import time
from typing import TYPE_CHECKING

import msgspec

from edgeglm.errors import EnvironmentFailedError, UserError
from edgeglm.fleet.simulate.device import Device
from edgeglm.fleet.simulate.dice import Dice
from edgeglm.fleet.simulate.limits import allow_connections
from edgeglm.fleet.simulate.link import Link, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from edgeglm.fleet.simulate.device import Message
    from edgeglm.fleet.simulate.fleet import Fleet
    from edgeglm.fleet.simulate.tally import Tally

_SLICE_S = 0.01  # devices that are due within it are looked at together
_SWEEP_S = 1.0
_MOST_OPENING = 200  # attempts at a time: a broker's queue of connections that it has not taken is short
_GIVE_UP_S = 10.0  # without one connection that was accepted
_DRAIN_S, _DRAIN_LOOK_S = 30.0, 0.1  # for the last acknowledgements
_CONNECT, _TICK, _CUT = range(3)


class Run:
    """The devices of one process.

    Attributes:
        fleet: All devices.
        now: Seconds since the run began.
    """

    def __init__(self, fleet: Fleet, target: Target, *, part: int = 0, parts: int = 1) -> None:
        """Make the devices of one part of the fleet.

        Args:
            fleet: All devices; what this process does is counted into its tally.
            target: The broker.
            part: Which part, from 0.
            parts: How many there are: each has every n-th device.
        """
        self.fleet, self._target = fleet, target
        profile = fleet.profile
        indices = range(part, profile.devices, parts)
        allow_connections(len(indices))
        for name in {fleet.name(indices[0]), fleet.name(indices[-1])} if indices else ():
            target.tls(name)  # whose certificates are there is said before anybody connects
        self._links = [Link(Device(fleet, index), on_message=self._came, on_lost=self._lost) for index in indices]
        self._jitter = Dice("jitter", profile.seed, part)
        self._due: list[tuple[float, int, int, Link]] = []
        self._count = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._ending = False
        self._began = 0.0
        self._parts = parts

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    async def go(self, stop: Event, on_second: Callable[[Tally, float], None]) -> Tally:
        """Run for as long as the profile says, or until told to stop; return what came of it.

        Args:
            stop: Ends the run; rows that are on their way are not waited for then.
            on_second: Is told the counts once a second.

        Raises:
            EnvironmentFailedError: The broker accepted not one connection.
        """
        profile, tally = self.fleet.profile, self.fleet.tally
        self._began = time.monotonic() - max(0.0, time.time() - self.fleet.start_ms / 1000)
        each = self._parts / profile.connects_per_second
        for number, link in enumerate(self._links):
            self._at(number * each + self._jitter.unit() * each, _CONNECT, link)
            self._plan_cut(link)
        try:
            next_sweep = 0.0
            while not stop.is_set() and (profile.duration_s is None or self.now < profile.duration_s):
                self._work()
                if self.now >= next_sweep:
                    next_sweep = self.now + _SWEEP_S
                    self._sweep()
                    on_second(self.count(), self.now)
                    self._check_reached(tally)
                await asyncio.sleep(max(_SLICE_S / 2, min(_SLICE_S, self._due[0][0] - self.now if self._due else 1.0)))
            self._ending = True
            await self._drain(stop, on_second)
            return self.count()
        finally:
            await self._close()

    def count(self) -> Tally:
        """Return the counts as they are now."""
        tally, now = self.fleet.tally, self.now
        usage = resource.getrusage(resource.RUSAGE_SELF)
        tally.devices = len(self._links)
        tally.connected = sum(link.is_open for link in self._links)
        tally.never = sum(not link.was_open and now >= link.away_until for link in self._links)
        tally.withheld = sum(len(link.device.flying) for link in self._links if link.device.withholds(now))
        tally.outstanding = sum(len(link.device.flying) for link in self._links) - tally.withheld
        tally.cpu_s = usage.ru_utime + usage.ru_stime
        tally.peak_rss_bytes = usage.ru_maxrss * 1024
        return msgspec.structs.replace(tally, latency_ms=dict(tally.latency_ms))

    # what is due

    def _at(self, when: float, what: int, link: Link) -> None:
        self._count += 1
        heapq.heappush(self._due, (when, self._count, what, link))

    def _work(self) -> None:
        now = self.now
        while self._due and self._due[0][0] <= now:
            when, _, what, link = heapq.heappop(self._due)
            if what == _TICK:
                if link.tick_at == when and link.is_open:
                    self._step(link)
            elif what == _CONNECT:
                self._connect(link, now)
            else:
                self._cut(link, now)

    def _step(self, link: Link) -> None:
        now = self.now
        self._publish(link, link.device.step(now))
        # a device that is silent, or has its hands full, is looked at again after a while
        link.tick_at = max(link.device.next_at, now + min(1.0, self.fleet.profile.window_s / 2))
        if link.tick_at < float("inf"):
            self._at(link.tick_at, _TICK, link)

    def _publish(self, link: Link, messages: list[Message]) -> None:
        if not messages:
            return
        tally = self.fleet.tally
        for message in messages:
            tally.messages += 1
            tally.payload_bytes += len(message.payload)
        link.publish(messages)

    def _sweep(self) -> None:
        now = self.now
        for link in self._links:
            if link.is_open and (messages := link.device.overdue(now)):
                self._publish(link, messages)

    # connections

    def _connect(self, link: Link, now: float) -> None:
        if link.is_open or link.is_opening or self._ending or now < link.away_until:
            return
        if len(self._opening) >= _MOST_OPENING:
            self._at(now + _SLICE_S * 2, _CONNECT, link)
            return
        link.is_opening = True
        task = asyncio.ensure_future(self._open(link))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, link: Link) -> None:
        try:
            why = await link.open(self._target)
        except UserError as error:
            why = error.problems[0].message
        finally:
            link.is_opening = False
        tally = self.fleet.tally
        if why:
            tally.refused += 1
            tally.last_failure = why
            self._later(link)
            return
        tally.connections += 1
        link.failures = 0
        if self.now < link.away_until:  # it was cut off while it was being made
            link.abort()
            return
        self._publish(link, link.device.opened(self.now))
        self._step(link)

    def _later(self, link: Link) -> None:
        """Try again after a while that doubles, and differs from device to device."""
        profile = self.fleet.profile
        wait = min(profile.longest_retry_s, profile.retry_s * 2.0 ** min(link.failures, 30))
        link.failures += 1
        when = self.now + wait * (0.5 + self._jitter.unit())
        self._at(max(when, link.away_until), _CONNECT, link)

    def _lost(self, link: Link) -> None:
        if not self._ending:
            self._later(link)

    def _plan_cut(self, link: Link) -> None:
        if link.device.cuts:
            self._at(link.device.cuts[-1].at, _CUT, link)

    def _cut(self, link: Link, now: float) -> None:
        cut = link.device.cuts.pop()
        link.away_until = max(link.away_until, cut.back_at)
        link.abort()
        if link.away_until < float("inf"):
            self._at(max(now, link.away_until), _CONNECT, link)
        self._plan_cut(link)

    def _check_reached(self, tally: Tally) -> None:
        if tally.refused and not tally.connections and self.now > _GIVE_UP_S:
            raise EnvironmentFailedError(
                f"not one device could connect: {tally.last_failure}",
                where=self._target.name,
                hint="is a broker there, and may these devices use it? `edgeglm fleet broker` starts one",
                code="broker-unreachable",
            )

    # what comes

    def _came(self, link: Link, topic: str, payload: bytes, retained: bool) -> None:
        now, device = self.now, link.device
        if topic == device.topics.ack:
            gone = device.acknowledged(payload, now)
            if gone and not self._ending and self.fleet.profile.in_flight is not None:
                self._publish(link, device.step(now))
        elif (answer := device.command(topic, payload, now, retained=retained)) is not None:
            self._publish(link, [answer])

    # the end

    async def _drain(self, stop: Event, on_second: Callable[[Tally, float], None]) -> None:
        """Wait for the acknowledgements of what was sent."""
        ends, next_sweep = self.now + _DRAIN_S + self.fleet.profile.resend_after_s, self.now + _SWEEP_S
        while not stop.is_set() and self.now < ends and self._is_owed():
            if self.now >= next_sweep:
                next_sweep = self.now + _SWEEP_S
                self._sweep()
                on_second(self.count(), self.now)
            await asyncio.sleep(_DRAIN_LOOK_S)

    def _is_owed(self) -> bool:
        now = self.now
        return any(link.device.flying and not link.device.withholds(now) for link in self._links)

    async def _close(self) -> None:
        self._ending = True
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        open_links = [link for link in self._links if link.is_open]
        for at in range(0, len(open_links), _MOST_OPENING):
            await asyncio.gather(*(link.close() for link in open_links[at : at + _MOST_OPENING]))

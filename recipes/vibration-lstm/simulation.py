"""Vibration of a motor's bearing, healthy or with a growing defect: a simulation, since real runs to failure are rare.

The bearing is a deep-groove ball bearing 6205 at a motor's drive end, as on the test rig of Case Western Reserve
University. Each time a ball rolls over a defect it strikes the structure, which rings: short decaying bursts, at the
defect's own frequency, on top of what the machine does anyway.

Sources:
    McFadden and Smith 1984, "Model for the vibration produced by a single point defect in a rolling element bearing",
    Journal of Sound and Vibration 96(1), 69-82: bursts at the defect's frequency; on the inner race, which turns with
    the shaft, their strength follows the load under the defect (Stribeck's equation) and the way to the sensor.
    Randall and Antoni 2011, "Rolling element bearing diagnostics - a tutorial", Mechanical Systems and Signal
    Processing 25(2), 485-520, sections 2 and 3: the frequencies below; balls slip, so that bursts come 1 to 2 % early
    or late, at random.

What is made up: how strong everything is, how fast a defect grows, and the knocks from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATE = 12_000  # samples a second
BALLS, BALL, PITCH = 9, 7.94, 39.04  # number; diameters of ball and pitch circle, mm; contact angle 0
SHAFT = {0: 1797, 1: 1772, 2: 1750, 3: 1730}  # load in horsepower -> turns a minute
SLIP = 0.01  # standard deviation of the time between bursts, as a share of it
DAMPING = 0.05  # of the structure's resonance, as a share of the critical one


@dataclass(frozen=True)
class Machine:
    """What differs from one machine to the next."""

    load: int  # horsepower, 0 to 3
    tones: np.ndarray  # (3,) amplitudes at once and twice the shaft's frequency and at twice the mains', in g
    noise: float  # standard deviation, in g
    resonance: float  # Hz


def machine(rng: np.random.Generator, load: int) -> Machine:
    """Return a machine like others, but not equal to any."""
    return Machine(
        load=load,
        tones=np.array([0.10, 0.06, 0.05]) * rng.lognormal(0, 0.3, 3),
        noise=0.05 * rng.lognormal(0, 0.06),
        resonance=rng.uniform(2800, 3600),
    )


def defect_frequency(race: str, shaft: float) -> float:
    """Return how often a ball meets a defect on the outer or inner race, in Hz.

    Source: Randall and Antoni 2011, equations 1 and 2.
    """
    ratio = BALL / PITCH
    return BALLS / 2 * shaft * (1 - ratio if race == "outer" else 1 + ratio)


def vibration(
    rng: np.random.Generator, rig: Machine, samples: int, *, race: str = "outer", severity: float = 0.0
) -> np.ndarray:
    """Return acceleration in g, (samples,) float32.

    Args:
        rng: Draws phases, noise, slip and knocks.
        rig: The machine.
        samples: How many, at ``RATE``.
        race: Where the defect is: outer or inner.
        severity: Mean amplitude of a burst, in g; 0: healthy.
    """
    shaft = SHAFT[rig.load] / 60 * rng.normal(1, 0.002)  # Hz
    time = np.arange(samples) / RATE
    strength = rig.tones * rng.lognormal(0, 0.15, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    turns = np.array([shaft, 2 * shaft, 120.0])
    signal = (strength[:, None] * np.sin(2 * np.pi * turns[:, None] * time + phases[:, None])).sum(axis=0)
    signal += rig.noise * rng.lognormal(0, 0.04) * rng.standard_normal(samples)
    if rng.random() < 0.02:  # a knock from elsewhere: one burst, nothing to do with the bearing
        signal += _bursts(time, rng.uniform(0, time[-1], 1), np.array([rng.uniform(0.1, 0.6)]), rig.resonance)
    if severity > 0:
        signal += _defect(rng, rig, time, shaft, race, severity)
    return signal.astype(np.float32)


def _defect(
    rng: np.random.Generator, rig: Machine, time: np.ndarray, shaft: float, race: str, severity: float
) -> np.ndarray:
    """Return the bursts of one defect."""
    period = 1 / defect_frequency(race, shaft)
    before = 0.01  # seconds: bursts from before the window still ring
    count = int((time[-1] + before) / period) + 2
    gaps = period * rng.normal(1, SLIP, count)
    times = np.cumsum(gaps) - gaps[0] * rng.random() - before
    strengths = severity * rng.lognormal(0, 0.2, count)
    if race == "inner":  # the defect turns through the zone that carries the load, and away from the sensor
        strengths *= _load_at(2 * np.pi * shaft * times + rng.uniform(0, 2 * np.pi))
    return _bursts(time, times, strengths, rig.resonance)


def _load_at(angle: np.ndarray, *, epsilon: float = 0.6, power: float = 1.5) -> np.ndarray:
    """Return the load at an angle from where it is largest, 0 to 1 (Stribeck; power 3/2: balls)."""
    return np.maximum(0.0, 1 - (1 - np.cos(angle)) / (2 * epsilon)) ** power


def _bursts(time: np.ndarray, starts: np.ndarray, strengths: np.ndarray, resonance: float) -> np.ndarray:
    """Return decaying oscillations of the resonance, one from each start, added up."""
    since = time[None] - starts[:, None]  # (bursts, samples)
    decay = np.exp(-DAMPING * 2 * np.pi * resonance * np.maximum(since, 0.0))
    ringing = np.sin(2 * np.pi * resonance * np.sqrt(1 - DAMPING**2) * since)
    return (strengths[:, None] * np.where(since >= 0, decay * ringing, 0.0)).sum(axis=0)

"""How large the stress tests are: by the level that was asked for, and by what the machine has. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

MIB = 2**20

TUBE_BYTES = 2 * MIB
"""Both ends of a tube with its streams under way; idle, a gateway's end has 0.3 MiB."""

TUBE_DESCRIPTORS = 12
"""Both ends of a tube on one machine have four each; a spare carrier of one end has four more for a while."""

LINK_BYTES = 256 * 1024
"""A client that is only joined to a rendezvous, and its place there."""

LINK_DESCRIPTORS = 2

MEMORY_SHARE = 0.5
"""Of the free memory: the rest is for the machine's other work."""

OTHER_DESCRIPTORS = 128
"""Of one process: libraries, the event loop, files."""


class Level(StrEnum):
    """How much is asked of the machine."""

    LIGHT = "light"
    FULL = "full"
    EXTREME = "extreme"


@dataclass(frozen=True, slots=True)
class Machine:
    """What tests may use."""

    cores: int
    memory_bytes: int
    """That is free."""
    descriptors: int
    """That one process may have."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What each test does so many times."""

    seconds: float
    """Of the tests that work for a given time."""
    tubes: int
    """In one process, both ends, with streams on each."""
    cycles: int
    """Of creating, using, breaking and closing."""
    workers: int
    """Tasks that call one registry at the same time."""
    gateway_tubes: int
    """At one gateway."""
    chaos_tubes: int
    """Under faults of the network."""
    clients: int
    """That are joined to one rendezvous."""
    honest_tubes: int
    """Beside a hostile one."""


LEVELS = {
    Level.LIGHT: Sizes(5.0, 10, 12, 20, 40, 10, 100, 5),
    Level.FULL: Sizes(15.0, 40, 24, 100, 200, 50, 1000, 20),
    Level.EXTREME: Sizes(60.0, 150, 96, 400, 1000, 100, 3000, 40),
}

USUAL_CORES = 2
"""For which the levels are made."""

_TUBES = ("tubes", "gateway_tubes", "chaos_tubes", "honest_tubes")
"""What is limited by memory and descriptors for tubes."""

_SCALED = (*_TUBES, "workers", "clients")
"""What follows from the number of cores."""

_MOST = {"tubes": 1000, "gateway_tubes": 1000, "honest_tubes": 1000, "chaos_tubes": 250, "clients": 8000}
"""A registry's default `max_tubes`; the lab's connections; those of a rendezvous, with its gateways."""

_WORDS = {
    "tubes": "tubes of one process",
    "gateway_tubes": "tubes at one gateway",
    "chaos_tubes": "tubes under faults of the network",
    "honest_tubes": "tubes beside a hostile one",
    "clients": "clients of one rendezvous",
}


def fitted(level: Level, machine: Machine) -> tuple[Sizes, dict[str, str]]:
    """The sizes of `level`, no larger than `machine` bears; and those that its memory and descriptors made smaller, in
    words.

    One core does half of what two do; `EXTREME` does more on more of them.
    """
    wanted = _scaled(LEVELS[level], machine.cores, grows=level is Level.EXTREME)
    memory = int(machine.memory_bytes * MEMORY_SHARE)
    descriptors = max(0, machine.descriptors - OTHER_DESCRIPTORS)
    bounds = dict.fromkeys(_TUBES, min(memory // TUBE_BYTES, descriptors // TUBE_DESCRIPTORS))
    bounds["clients"] = min(memory // LINK_BYTES, descriptors // LINK_DESCRIPTORS)
    cuts: dict[str, int] = {}
    for name, bound in bounds.items():
        if bound < getattr(wanted, name):
            cuts[name] = max(1, bound)
    reason = f"for {machine.memory_bytes // MIB} MiB of free memory and {machine.descriptors} descriptors"
    words = {name: f"{_WORDS[name]}: {cut} instead of {getattr(wanted, name)}, {reason}" for name, cut in cuts.items()}
    return replace(wanted, **cuts), words


def _scaled(sizes: Sizes, cores: int, *, grows: bool) -> Sizes:
    factor = cores / USUAL_CORES if grows else min(1.0, cores / USUAL_CORES)
    scaled = {name: max(1, round(getattr(sizes, name) * factor)) for name in _SCALED}
    return replace(sizes, **{name: min(count, _MOST.get(name, count)) for name, count in scaled.items()})

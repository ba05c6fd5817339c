"""What this machine has."""

from __future__ import annotations

import os
import platform

import psutil

from perdure_lab.stress.sizes import Machine

_SOFT_LIMIT = 1024
"""Descriptors, where the system does not say."""


def this_machine() -> Machine:
    """Now."""
    return Machine(cores(), psutil.virtual_memory().available, _descriptors())


def about_this(machine: Machine) -> dict[str, object]:
    """What figures that were measured here depend on; read before the work, whose own load it is otherwise."""
    return {
        "cores": machine.cores,
        "free_memory_bytes": machine.memory_bytes,
        "descriptors": machine.descriptors,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _descriptors() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return _SOFT_LIMIT
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if hard == resource.RLIM_INFINITY else hard

"""The stress tests by their names."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from perdure_lab.stress.chaos import test_chaos_under_load
from perdure_lab.stress.cleanup import test_memory_cleanup_verification, test_resource_cleanup_under_stress
from perdure_lab.stress.herd import test_rendezvous_reconnect_herd
from perdure_lab.stress.many import test_hostile_neighbour, test_many_tubes
from perdure_lab.stress.performance import test_performance_under_stress
from perdure_lab.stress.registry import test_concurrent_registry_operations, test_system_resource_adaptation
from perdure_lab.stress.soak import soak

if TYPE_CHECKING:
    from perdure_lab.stress.stage import Stage

StressTest = Callable[["Stage"], Coroutine[object, object, None]]

TESTS: dict[str, StressTest] = {
    test.__name__: test
    for test in (
        test_resource_cleanup_under_stress,
        test_concurrent_registry_operations,
        test_memory_cleanup_verification,
        test_system_resource_adaptation,
        test_performance_under_stress,
        test_many_tubes,
        test_chaos_under_load,
        test_rendezvous_reconnect_herd,
        test_hostile_neighbour,
    )
}

SOAK = soak.__name__

EVERYTHING: dict[str, StressTest] = TESTS | {SOAK: soak}


def what(test: StressTest) -> str:
    """Its docstring, in one line."""
    return " ".join((test.__doc__ or "").split())

"""The stress tests by their names."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from perdure_lab.stress.adaptation import test_system_resource_adaptation
from perdure_lab.stress.chaos import test_chaos_under_load
from perdure_lab.stress.cleanup import test_memory_cleanup_verification, test_resource_cleanup_under_stress
from perdure_lab.stress.herd import test_rendezvous_reconnect_herd
from perdure_lab.stress.many import test_hostile_neighbour, test_many_tubes
from perdure_lab.stress.performance import test_performance_under_stress
from perdure_lab.stress.registry import test_concurrent_registry_operations
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


LIMITED_BY = {
    test_resource_cleanup_under_stress.__name__: "tubes",
    test_memory_cleanup_verification.__name__: "tubes",
    test_system_resource_adaptation.__name__: "tubes",
    test_many_tubes.__name__: "gateway_tubes",
    test_chaos_under_load.__name__: "chaos_tubes",
    test_rendezvous_reconnect_herd.__name__: "clients",
    test_hostile_neighbour.__name__: "honest_tubes",
}
"""Which of `Sizes` the machine's memory and descriptors make smaller for a test; the others need little."""


def what(test: StressTest) -> str:
    """Its docstring, in one line."""
    return " ".join((test.__doc__ or "").split())

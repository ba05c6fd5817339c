"""The kernel says up to a second late that a link runs, unless it is asked for that link alone."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from support.private_namespaces import needs_namespaces, said_by

LATE_LINK = Path(__file__).with_name("late_link.py")


def kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])


@needs_namespaces
@pytest.mark.skipif(sys.platform != "linux" or kernel() < (6, 8), reason="older kernels do not say it earlier")
async def test_a_link_with_carrier_is_up_at_the_first_look_though_the_kernel_has_not_worked_that_out() -> None:
    assert await said_by(LATE_LINK) == {"by a dump": False, "by a look": True}

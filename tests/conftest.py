"""What every test shares: one engine, which a process sets up once, before its first connection; one log; and a state
folder of the tests' own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

from perdure.eventlog import tell_left_out
from perdure.transport import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tests")  # no example is judged by the time that it takes: the machine may be busy


@pytest.fixture(scope="session", autouse=True)
def loopback_candidates() -> None:
    """Allow them before any test connects: a test whose connection does without would take them from all after it."""
    engine.prepare(loopback=True)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Lines of one test leave the room of another's: the bounds of the log are those of a process."""
    yield
    tell_left_out()


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where tests' clients and gateways keep their keys: not where those of whoever runs them are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield

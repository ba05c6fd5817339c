"""What every test shares: one engine, which a process sets up once, before its first connection."""

from __future__ import annotations

import pytest

from perdure.transport import engine


@pytest.fixture(scope="session", autouse=True)
def loopback_candidates() -> None:
    """Allow them before any test connects: a test whose connection does without would take them from all after it."""
    engine.prepare(loopback=True)

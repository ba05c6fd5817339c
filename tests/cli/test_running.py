"""On which event loop a command runs."""

from __future__ import annotations

import sys

import pytest

from perdure.cli.running import loop_factory


def test_a_command_runs_on_uvloop_where_it_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop", reason="there is none for Windows")
    assert loop_factory() is uvloop.new_event_loop


def test_elsewhere_it_runs_on_asyncios_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # as where it is not installed
    assert loop_factory() is None

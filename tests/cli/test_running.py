"""Which event loop a command that carries streams gets."""

from __future__ import annotations

import sys

import pytest

from perdure.cli.running import loop_factory


def test_where_uvloop_is_installed_the_loop_is_its_own() -> None:
    uvloop = pytest.importorskip("uvloop", reason="there is none for Windows")
    assert loop_factory() is uvloop.new_event_loop


def test_elsewhere_the_loop_is_asyncios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # as where it is not installed
    assert loop_factory() is None

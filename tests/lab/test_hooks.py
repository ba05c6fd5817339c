"""What happens inside a run's Python programs: a rotation finds each open tube, whatever else the program holds."""

from __future__ import annotations

import runpy
import weakref
from pathlib import Path

import perdure_lab.lab
from support.manager_pair import ManagerPair

HOOKS = Path(perdure_lab.lab.__file__).parent / "hooks" / "sitecustomize.py"


class Gone:
    """Is collected as soon as nobody holds it."""


async def test_a_rotation_finds_each_open_tube_beside_proxies_of_what_is_gone() -> None:
    proxies = [weakref.proxy(Gone()) for _ in range(10)]
    open_managers = runpy.run_path(str(HOOKS))["open_managers"]
    pair = ManagerPair()
    assert {pair.client, pair.gateway} <= set(open_managers())
    await pair.close()
    assert not {pair.client, pair.gateway} & set(open_managers())
    assert len(proxies) == 10

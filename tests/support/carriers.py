"""When a tube has gone on on another carrier, which changes no state where the one before worked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.signaling import eventually

if TYPE_CHECKING:
    from perdure import TunnelConnectionManager

TIMEOUT = 20.0


def carrier_of(manager: TunnelConnectionManager) -> int:
    """The generation of the one in use."""
    return manager.tube.driver.core.carrier


async def on_another_carrier(*managers: TunnelConnectionManager, than: int) -> None:
    """Wait until each goes on on a later one."""
    await eventually(lambda: all(carrier_of(each) > than and each.state.is_up for each in managers), seconds=TIMEOUT)

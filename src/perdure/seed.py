"""The names of the system that perdure was asked for. What stands here exists only for programs written against it.

    from perdure.seed import NetworkChangeType, TubeRegistry, TunnelConnectionManager, get_connection_manager

    manager = TunnelConnectionManager(
        tube_id="my_tube", conversation_id="my_conversation", tube_registry=registry, signal_handler=handler
    )
    await manager.start_monitoring()
    await manager.handle_network_change(NetworkChangeType.INTERFACE_CHANGE)
    restart_sdp = await manager._execute_ice_restart()

Everything else of `perdure.TunnelConnectionManager` is there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from perdure.core.decision import Trigger as NetworkChangeType
from perdure.registry import TubeRegistry

if TYPE_CHECKING:
    from perdure.core.decision import Decision
    from perdure.delivery import SignalHandler

__all__ = ["NetworkChangeType", "TubeRegistry", "TunnelConnectionManager", "get_connection_manager"]


class TunnelConnectionManager:
    """A tube of `tube_registry`, made and used by the asked-for names.

    Raises:
        ValueError: there is no registry; and as `TubeRegistry.create_tube`.
    """

    def __init__(
        self,
        tube_id: str,
        conversation_id: str | None = None,
        tube_registry: TubeRegistry | None = None,
        signal_handler: SignalHandler | None = None,
    ) -> None:
        if tube_registry is None:
            raise ValueError("a manager needs the registry that its tube belongs to")
        self._manager = tube_registry.create_tube(tube_id, conversation_id, signal_handler=signal_handler)
        _managers[tube_id] = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    async def start_monitoring(self) -> None:
        """`start`."""
        self._manager.start()

    async def handle_network_change(
        self, change: NetworkChangeType, data: Mapping[str, object] | None = None
    ) -> Decision | None:
        """`report_network_change`."""
        return self._manager.report_network_change(change, data)

    async def _execute_ice_restart(self) -> str:
        """`restart_ice`."""
        return await self._manager.restart_ice()


_managers: WeakValueDictionary[str, TunnelConnectionManager] = WeakValueDictionary()


def get_connection_manager(tube_id: str) -> TunnelConnectionManager:
    """The manager that was made here last for `tube_id`, and is in use. Raises `ValueError` where there is none."""
    manager = _managers.get(tube_id)
    if manager is None:
        raise ValueError(f"no tube {tube_id!r} was made here, or nobody uses it any more")
    return manager

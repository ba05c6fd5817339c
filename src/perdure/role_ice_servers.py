"""The ICE servers of one end of a tunnel: those that it was given, and those that a provider issues meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure.config import TransportConfig
from perdure.tube import clock
from perdure.tube.arguments import check_methods
from perdure.turn.refresher import Refresher

if TYPE_CHECKING:
    from random import Random

    from perdure.ice_server import IceServer
    from perdure.registry import TubeRegistry
    from perdure.transport.base import Transport
    from perdure.turn.provider import IceServerProvider


class RoleIceServers:
    """Those of the tubes of `tubes`.

    Args:
        transport: what the tubes' carriers are built by; its configuration names those that were given.
        use: called with all of them where some are new, and in how many seconds they expire where that is known.

    Raises:
        TypeError: `provider` is none.
    """

    def __init__(
        self,
        transport: TransportConfig | Transport | None,
        provider: IceServerProvider | None,
        tubes: TubeRegistry,
        *,
        use: Callable[[tuple[IceServer, ...], float | None], None],
        random: Random,
    ) -> None:
        config = transport if isinstance(transport, TransportConfig) else TransportConfig()
        self._given = config.ice_servers
        self._issued: tuple[IceServer, ...] = ()
        self._use = use
        self._refresher: Refresher | None = None
        if provider is not None:
            check_methods("an ice_server_provider", provider, ("ice_servers",))
            self._refresher = Refresher(
                provider,
                interval=config.turn_credential_refresh_interval,
                on_issued=self._take_issued,
                on_failed=tubes.ice_servers.fetch_failed,
                random=random,
                clock=clock,
            )
            tubes.ice_servers.refresher = self._refresher

    @property
    def all(self) -> tuple[IceServer, ...]:
        return (*self._given, *self._issued)

    async def start(self) -> None:
        """Have the provider's first ones, if it has them within 2 s, and go on asking."""
        if self._refresher is not None:
            await self._refresher.start()

    async def close(self) -> None:
        if self._refresher is not None:
            await self._refresher.close()

    def network_moved(self) -> None:
        """The machine's network has changed, or it slept."""
        if self._refresher is not None:
            self._refresher.look()

    def give(self, servers: tuple[IceServer, ...]) -> None:
        """Use `servers` instead of those that were given before. Raises what `use` raises; then nothing changed."""
        before, self._given = self._given, servers
        try:
            self._use(self.all, None)
        except BaseException:
            self._given = before
            raise

    def _take_issued(self, servers: tuple[IceServer, ...], expires_in: float | None) -> None:
        before, self._issued = self._issued, servers
        try:
            self._use(self.all, expires_in)
        except BaseException:
            self._issued = before
            raise

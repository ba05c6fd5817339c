"""The seam to the operating system: who shows the network, and who hints that it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.netmon.state import Snapshot


class Source(Protocol):
    """What a `NetworkMonitor` asks. Used on the event loop's thread only."""

    @property
    def name(self) -> str:
        """For the log."""

    def watch(self, hint: Callable[[], None], failed: Callable[[OSError], None]) -> None:
        """Call `hint` on the running event loop when something may have changed, until `close`; `failed`, once, with
        the system's error if that ended before.

        Raises:
            OSError: the system does not permit it.
        """

    def look(self) -> Snapshot:
        """The network now, within milliseconds.

        Raises:
            OSError: the system does not say it.
            Exception: what it says cannot be decoded; a network may have what nobody has thought of.
        """

    def close(self) -> None:
        """Stop watching, and give back what was taken. May be called again."""

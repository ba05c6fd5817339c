"""Who is to be called when a store's tickets have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Listeners:
    """Functions without arguments; the same one may be there twice."""

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[], None]] = {}

    def add(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call it from now on. Returns what ends that; calling it twice is fine."""
        token = object()
        self._listeners[token] = listener

        def remove() -> None:
            self._listeners.pop(token, None)

        return remove

    def call(self) -> None:
        """Each, in the order in which they came."""
        for listener in list(self._listeners.values()):
            listener()

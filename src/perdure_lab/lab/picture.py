"""A picture in a terminal that is drawn again as things change, and no oftener than an eye can follow."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from rich.live import Live

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console, RenderableType

_REFRESH_SECONDS = 0.1


class Picture:
    """Shown within its context, where `console` is a terminal; gone at its end."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._drawn_at = 0.0

    def draw(self, paint: Callable[[], RenderableType]) -> bool:
        """Draw what `paint` makes, unless the last drawing is too fresh. Whether there is a terminal at all."""
        if self._live is None:
            return False
        if monotonic() - self._drawn_at >= _REFRESH_SECONDS:
            self._drawn_at = monotonic()
            self._live.update(paint(), refresh=True)
        return True

    def __enter__(self) -> Picture:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

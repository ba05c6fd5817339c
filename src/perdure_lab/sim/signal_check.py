"""What must hold of signals: each can be JSON, and none follows the end of its tube."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from perdure.signals import ChannelClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.signals import Signal


class SignalCheck:
    """The signals of one process, as its application gets them."""

    def __init__(self, name: str, violated: Callable[[str], None]) -> None:
        self._name = name
        self._violated = violated
        self._ended: set[str] = set()

    async def handle(self, signal: Signal) -> None:
        if signal.tube_id in self._ended:
            self._violated(f"{self._name}: {signal.kind} behind the end of tube {signal.tube_id}")
        try:
            json.dumps(signal.as_dict())
        except (TypeError, ValueError) as error:
            self._violated(f"{self._name}: {signal.kind} is not JSON: {error}")
        if isinstance(signal, ChannelClosed):
            self._ended.add(signal.tube_id)

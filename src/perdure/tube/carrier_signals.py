"""Signaling through the carrier itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.errors import ProtocolError
from perdure.signaling.in_band import InBandSignals
from perdure.tube.clock import clock

if TYPE_CHECKING:
    from perdure.signaling.in_band import InBandMessage
    from perdure.tube.path_listener import PathListener


class CarrierSignals:
    """Of one tube; made when the first goes this way, by either end."""

    __slots__ = ("_signals",)

    def __init__(self) -> None:
        self._signals = InBandSignals(clock())

    def write(self, message: InBandMessage) -> bytes | None:
        """What to say on the carrier; `None`: so much was said that this does not go there."""
        return self._signals.write(message, clock())

    def received(self, generation: int, body: bytes, listener: PathListener) -> None:
        """Tell `listener` what was said on the carrier of `generation`."""
        try:
            message = self._signals.read(body, clock())
        except ProtocolError as error:
            listener.carrier_gone(generation, f"protocol error: {error}")
        else:
            if message is not None:
                listener.signaling_message(message)

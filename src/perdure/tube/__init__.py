"""The asyncio side of one tube: the only code that knows core, session, transport and signaling together."""

from perdure.tube.clock import clock
from perdure.tube.seams import StreamSink, TubeHandler
from perdure.tube.tube import Tube

__all__ = ["StreamSink", "Tube", "TubeHandler", "clock"]

"""The asyncio parts of one tube, which `perdure.manager` drives."""

from perdure.tube.clock import clock
from perdure.tube.link import Link
from perdure.tube.seams import StreamSink

__all__ = ["Link", "StreamSink", "clock"]

"""The asyncio parts of one tube, which `perdure.manager` puts together."""

from perdure.tube.announcer import Announcer
from perdure.tube.clock import clock
from perdure.tube.driver import Driver
from perdure.tube.link import Link
from perdure.tube.metrics import ConnectionMetrics
from perdure.tube.seams import StreamSink

__all__ = ["Announcer", "ConnectionMetrics", "Driver", "Link", "StreamSink", "clock"]

"""The asyncio parts of one tube, which `perdure.manager` puts together."""

from perdure.tube.clock import clock
from perdure.tube.driver import Driver
from perdure.tube.environment import Endpoint, Environment, environment
from perdure.tube.metrics import ConnectionMetrics
from perdure.tube.publisher import EventPublisher

__all__ = ["ConnectionMetrics", "Driver", "Endpoint", "Environment", "EventPublisher", "clock", "environment"]

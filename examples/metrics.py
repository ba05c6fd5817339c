"""Figures of your own tubes for Prometheus: `python examples/metrics.py @home.ticket 9100` serves them on that port.

`TubeCollector` takes any `TubeRegistry`: a tunnel's or a gateway's `tubes`, or your own.
"""

import asyncio
import sys
from collections.abc import Iterable, Iterator

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, StateSetMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import perdure


class TubeCollector(Collector):
    """Reads the figures on the tubes' event loop, whichever thread Prometheus' server runs in."""

    def __init__(self, tubes: Iterable[perdure.TunnelConnectionManager]) -> None:
        self._tubes = tubes
        self._loop = asyncio.get_running_loop()

    def describe(self) -> Iterable[Metric]:
        return []  # without it, Prometheus' global registry would collect at once, on this loop's own thread

    def collect(self) -> Iterator[Metric]:
        yield from asyncio.run_coroutine_threadsafe(self._collect(), self._loop).result(timeout=5)

    async def _collect(self) -> list[Metric]:
        state = StateSetMetricFamily("perdure_tube_state", "The tube's state", labels=["tube"])
        rtt = GaugeMetricFamily("perdure_tube_rtt_seconds", "Smoothed round trip", labels=["tube"])
        quality = GaugeMetricFamily("perdure_tube_quality", "The path's score, 0 to 1", labels=["tube"])
        streams = GaugeMetricFamily("perdure_tube_streams", "Streams now", labels=["tube"])
        data = CounterMetricFamily("perdure_tube_bytes", "Bytes of streams", labels=["tube", "direction"])
        restarts = CounterMetricFamily("perdure_tube_restarts", "Recoveries begun here", labels=["tube", "kind"])
        for tube in self._tubes:
            name, figures = tube.tube_id, tube.metrics
            state.add_metric([name], {known.value: known is tube.state for known in perdure.State})
            if figures.rtt is not None:
                rtt.add_metric([name], figures.rtt)
            quality.add_metric([name], figures.quality)
            streams.add_metric([name], figures.streams)
            data.add_metric([name, "sent"], figures.bytes_sent)
            data.add_metric([name, "received"], figures.bytes_received)
            restarts.add_metric([name, "ice"], figures.ice_restart_attempts)
            restarts.add_metric([name, "carrier"], figures.reconnection_attempts)
        return [state, rtt, quality, streams, data, restarts]


async def main(ticket: str, port: int) -> None:
    async with perdure.connect(ticket, loopback=True) as tunnel:  # loopback: for two ends on one machine
        figures = prometheus_client.CollectorRegistry()
        figures.register(TubeCollector(tunnel.tubes))
        server, _ = prometheus_client.start_http_server(port, "127.0.0.1", registry=figures)
        print(f"http://127.0.0.1:{server.server_port}/metrics", flush=True)
        await tunnel.wait_closed()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

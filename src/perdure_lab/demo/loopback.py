"""The demo on 127.0.0.1: nothing is needed for it, and nothing of a network can change there."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from perdure_lab.demo.stage import Fault, both_killed, rendezvous_restarted

if TYPE_CHECKING:
    from perdure_lab.demo.programs import Programs


class Loopback:
    """A `Stage`."""

    rendezvous = "127.0.0.1:0"
    options = ("--loopback",)

    def __init__(self) -> None:
        self._has_filters = sys.platform == "linux"
        self.skipped = () if self._has_filters else ("dropping a carrier's packets: needs Linux' socket filters",)

    def namespace(self, program: str) -> str | None:
        return None

    async def build(self) -> None:
        pass

    async def faults(self, programs: Programs) -> AsyncIterator[Fault]:
        client, gateway, inject = programs.client, programs.gateway, programs.inject
        while True:
            yield Fault("the client's peer connection is killed", partial(inject, "kill", client))
            yield Fault("the gateway's peer connection is killed", partial(inject, "kill", gateway))
            if self._has_filters:
                everywhere = partial(inject, "blackhole", client, gateway)
                yield Fault("every packet of the carrier is dropped, both ways", everywhere)
            yield Fault("the client's network interface changes", partial(inject, "interface", client))
            yield rendezvous_restarted(programs)
            yield both_killed(programs)

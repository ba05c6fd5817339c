"""What a flow of packets asks of the association that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_lab.sim.association import Association
    from perdure_lab.sim.internet import Way


class Direction:
    """From one end of an association to the other."""

    def __init__(self, association: Association, sender: int) -> None:
        self._association = association
        self._sender = sender

    def way(self) -> Way | None:
        return self._association.ways[self._sender]

    @property
    def is_acknowledged(self) -> bool:
        receiver = self._association.ends[1 - self._sender]
        return receiver.runs and self._association.ways[1 - self._sender] is not None

    def arrived(self, messages: list[bytes]) -> None:
        association = self._association
        association.arrived(association.ends[1 - self._sender], association.peers.spoil(self, messages))

    def drained(self) -> None:
        sender = self._association.ends[self._sender]
        sender.loop.deliver(0.0, sender.drained)

    def given_up(self) -> None:
        self._association.given_up()

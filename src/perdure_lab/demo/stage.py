"""Where the demo's programs run, and what can be broken there: the seam between its two forms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure_lab.demo.programs import Programs


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that breaks; `mend` puts it right once everything flows again."""

    name: str
    strike: Callable[[], Awaitable[None]]
    mend: Callable[[], Awaitable[None]] | None = None


class Stage(Protocol):
    @property
    def rendezvous(self) -> str:
        """HOST:PORT that the rendezvous listens on."""

    @property
    def options(self) -> tuple[str, ...]:
        """Words for the gateway and the client."""

    @property
    def skipped(self) -> Sequence[str]:
        """Faults that cannot be had on this machine, with the reason."""

    def namespace(self, program: str) -> str | None:
        """Where "rendezvous", "gateway" or "client" runs; `None`: in this process' own."""

    async def build(self) -> None:
        """Make it.

        Raises:
            LabError: the system does not let it.
        """

    def faults(self, programs: Programs) -> AsyncIterator[Fault]:
        """Without end; each is chosen when it is asked for."""


def rendezvous_restarted(programs: Programs) -> Fault:
    return Fault("the rendezvous is killed and started again", programs.restart_rendezvous)


def both_killed(programs: Programs) -> Fault:
    return Fault(
        "both peer connections are killed at once", partial(programs.inject, "kill", programs.client, programs.gateway)
    )

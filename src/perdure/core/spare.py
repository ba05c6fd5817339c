"""A carrier that is begun beside the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.core.decision import Trigger


class Spare:
    __slots__ = (
        "begun_at",
        "can_restart",
        "generation",
        "is_precaution",
        "is_ready",
        "is_told",
        "peer_ufrag",
        "stands_by",
        "trigger",
    )

    def __init__(self, generation: int, trigger: Trigger | None, now: float, *, stands_by: bool) -> None:
        self.generation = generation
        self.trigger = trigger
        self.begun_at = now
        self.can_restart = True
        self.peer_ufrag: str | None = None
        self.is_precaution = False
        """Whether a mere suspicion of this end began it, and the path is not lost."""
        self.is_told = False
        """Whether this end has said RESUME on it: the peer may go on there, so it is brought to its end."""
        self.stands_by = stands_by
        """Whether it is a warm spare: nothing waits for it, and it is used once the path fails."""
        self.is_ready = False
        """Whether both ends are proved on a warm spare."""

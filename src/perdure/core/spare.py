"""A carrier that is begun beside the current one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.core.decision import Trigger


SPARE_TIMEOUT = 15.0
"""Seconds that a carrier may take to open beside one that works: half as long again as where all waits for it."""


class Spare:
    """A carrier beside the current one."""

    __slots__ = (
        "agreed_at",
        "begun_at",
        "can_restart",
        "generation",
        "heard_at",
        "is_chosen",
        "is_described",
        "is_outdated",
        "is_precaution",
        "peer_ufrag",
        "ready_at",
        "renews",
        "stands_by",
        "told_at",
        "trigger",
    )

    def __init__(self, generation: int, trigger: Trigger | None, now: float, *, stands_by: bool) -> None:
        self.generation = generation
        self.trigger = trigger
        self.begun_at = now
        self.can_restart = True
        self.agreed_at: float | None = None
        """When both ends knew it."""
        self.peer_ufrag: str | None = None
        self.is_described = False
        """Whether this end's description of it is made: it gathers with the TURN credentials of then."""
        self.renews = False
        """Whether it is to bring the path new TURN credentials, so that another one is begun where it fails."""
        self.is_outdated = False
        """Whether it gathered with older ones, and had to be brought to its end."""
        self.is_precaution = False
        """Whether a mere suspicion of this end began it, and the path is not lost."""
        self.told_at = -math.inf
        """When this end said RESUME on it."""
        self.stands_by = stands_by
        """Whether it is a warm spare: nothing waits for it, and it is used once the path fails."""
        self.ready_at = math.inf
        """Since when both ends are proved on a warm spare."""
        self.heard_at = -math.inf
        """When the peer was last heard on a warm spare."""
        self.is_chosen = False
        """Whether this end goes on on a warm spare, and not the peer alone."""

    def was_agreed_before(self, at: float) -> bool:
        """Whether both ends knew it when it was `at`."""
        return self.agreed_at is not None and self.agreed_at < at

    @property
    def is_told(self) -> bool:
        """Whether this end has said RESUME on it: the peer may go on there, so it is brought to its end."""
        return self.told_at != -math.inf

    @property
    def is_ready(self) -> bool:
        """Whether both ends are proved on a warm spare."""
        return self.ready_at != math.inf

"""How much room a registry has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much room a registry has."""

    tubes: int
    max_tubes: int
    setting_up: int
    """Tubes that were never connected yet."""
    max_concurrent_creates: int
    buffered_bytes: int
    total_buffer_bytes: int

    @property
    def has_room(self) -> bool:
        """Whether a tube may be created now."""
        return self.tubes < self.max_tubes and self.setting_up < self.max_concurrent_creates

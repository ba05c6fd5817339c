"""How a case ends that does not pass. Pure."""

from __future__ import annotations


class CaseFailed(Exception):
    """The subject did not do what the protocol demands."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came


class NotApplicable(Exception):
    """The subject left out what the protocol lets it leave out."""

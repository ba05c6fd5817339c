"""A case, and its result. Pure."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_lab.conformance.conversation import Conversation

Play = Callable[["Conversation"], Coroutine[object, object, None]]


class Verdict(Enum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    plays: str
    """One sentence."""
    section: int
    """Of docs/protocol.md: what it proves."""
    play: Play


class Cases:
    """Those of one module, in their order: `@cases.case(section)` adds one, named as its function."""

    def __init__(self) -> None:
        self.all: list[Case] = []

    def case(self, section: int) -> Callable[[Play], Play]:
        def add(play: Play) -> Play:
            sentence = " ".join((play.__doc__ or "").split())
            self.all.append(Case(play.__name__.strip("_").replace("_", "-"), sentence, section, play))
            return play

        return add

    def add(self, name: str, plays: str, section: int, play: Play) -> None:
        self.all.append(Case(name, plays, section, play))


@dataclass(frozen=True, slots=True)
class Result:
    case: Case
    verdict: Verdict
    expected: str = ""
    came: str = ""
    """Of a case that does not apply: why."""
    written: str = ""
    """The last that the subject wrote to standard error, where the case failed."""
    is_mute: bool = False
    """Whether the subject said nothing at all."""

    @property
    def is_failed(self) -> bool:
        return self.verdict is Verdict.FAILED

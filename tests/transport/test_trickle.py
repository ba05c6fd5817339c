"""Candidates are sent behind the description that they belong to."""

from __future__ import annotations

from perdure.transport.trickle import MAX_WAITING_CANDIDATES, LocalCandidate, Trickle


def of(ufrag: str | None, number: int = 0) -> LocalCandidate:
    return LocalCandidate(ufrag, f"candidate:{number}", "0", 0)


def described(ufrag: str) -> str:
    return f"v=0\r\na=ice-ufrag:{ufrag}\r\n"


def test_a_candidate_waits_for_its_description_and_is_sent_once() -> None:
    trickle = Trickle()
    assert not trickle.is_due(of("a"))
    assert trickle.described(described("a")) == [of("a")]
    assert trickle.described(described("a")) == []
    assert trickle.is_due(of("a"))


def test_a_candidate_of_another_description_or_of_none_is_not_sent() -> None:
    trickle = Trickle()
    trickle.described(described("a"))
    assert not trickle.is_due(of("b"))
    assert not trickle.is_due(of(None))
    assert trickle.described(described("c")) == []


def test_of_too_many_that_wait_the_oldest_are_dropped() -> None:
    trickle = Trickle()
    found = [of("a", number) for number in range(MAX_WAITING_CANDIDATES + 3)]
    assert not any(trickle.is_due(candidate) for candidate in found)
    assert trickle.described(described("a")) == found[3:]

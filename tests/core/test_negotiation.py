"""Which offer counts."""

from __future__ import annotations

from perdure.core.description import ice_ufrag
from perdure.core.negotiation import Negotiation


def test_the_ends_offer_in_turns_of_their_own() -> None:
    assert [Negotiation(initiator=False).next_offer(), Negotiation(initiator=True).next_offer()] == [2, 3]


def test_of_two_offers_that_cross_the_acceptor_ends_gives_way_at_both_ends() -> None:
    acceptor, initiator = Negotiation(initiator=False), Negotiation(initiator=True)
    theirs, ours = acceptor.next_offer(), initiator.next_offer()
    assert not initiator.take_offer(theirs)
    assert acceptor.take_offer(ours)
    assert acceptor.current == initiator.current == ours
    assert initiator.takes_answer(ours)
    assert not acceptor.takes_answer(ours)


def test_the_next_offer_of_either_end_counts_at_the_other() -> None:
    acceptor, initiator = Negotiation(initiator=False), Negotiation(initiator=True)
    for offering, taking in (
        (initiator, acceptor),
        (acceptor, initiator),
        (acceptor, initiator),
        (initiator, acceptor),
    ):
        assert taking.take_offer(offering.next_offer())
        assert offering.offered_here
        assert not taking.offered_here


def test_an_offer_that_was_taken_does_not_count_twice() -> None:
    acceptor = Negotiation(initiator=False)
    assert acceptor.take_offer(5)
    assert not acceptor.take_offer(5)
    assert not acceptor.take_offer(3)


def test_an_offer_with_this_ends_own_parity_never_counts() -> None:
    assert not Negotiation(initiator=True).take_offer(99)
    assert not Negotiation(initiator=False).take_offer(98)


def test_the_first_ufrag_of_a_description_is_read_and_none_where_there_is_none() -> None:
    assert ice_ufrag("v=0\r\na=ice-ufrag:abcd\r\na=ice-ufrag:efgh\r\n") == "abcd"
    assert ice_ufrag("a=ice-ufrag:abcd") == "abcd"
    assert ice_ufrag("not SDP") is None

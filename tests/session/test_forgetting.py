"""Which streams a session says that it has forgotten, so that its driver can let go of their users."""

from __future__ import annotations

from perdure.config import ResourceLimits
from perdure.session import Session
from perdure.wire import CloseCode, ResetCode


def make_session() -> Session:
    return Session(session_id=bytes(16), initiator=True, key=bytes(32), limits=ResourceLimits())


def test_a_stream_that_is_forgotten_is_told_of_once() -> None:
    session = make_session()
    first, second = session.open_stream(b"t"), session.open_stream(b"t")
    assert not session.streams.has_forgotten
    session.reset(first, ResetCode.ABORTED)  # which the peer never heard of
    assert session.streams.has_forgotten
    assert session.streams.take_forgotten() == [first]
    assert session.streams.take_forgotten() == []
    assert session.is_writable(second)
    assert not session.is_writable(first)


def test_a_stream_that_had_not_ended_is_not_forgotten_with_its_session_but_lost() -> None:
    session = make_session()
    session.open_stream(b"t")
    session.close(CloseCode.DONE, "enough")
    assert session.streams.take_forgotten() == []

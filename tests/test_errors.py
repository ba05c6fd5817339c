"""perdure's errors, as a program passes them on."""

from __future__ import annotations

import copy
import pickle

import pytest

from perdure.errors import (
    CarrierError,
    ListenError,
    NotAuthorisedError,
    PeerError,
    PerdureError,
    ProtocolError,
    RendezvousError,
    TicketError,
)

ERRORS = [
    PerdureError("what happened"),
    TicketError("what happened", expired=True),
    RendezvousError("what happened", url="ws://user:password@host"),
    PeerError("what happened", reason="TIMEOUT"),
    NotAuthorisedError("what happened", target="host:22"),
    ListenError("what happened", address="host:22"),
    ProtocolError("what happened"),
    CarrierError("what happened", generation=3),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_reaches_another_process_whole(error: PerdureError) -> None:
    error.add_note("seen by a worker")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def test_each_kind_of_error_is_among_them() -> None:
    own = {each for each in PerdureError.__subclasses__() if each.__module__ == PerdureError.__module__}
    assert {type(error) for error in ERRORS} == {PerdureError, *own}

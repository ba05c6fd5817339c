"""A started rendezvous is back when its port is listened on."""

from __future__ import annotations

import os
import socket

import pytest

from perdure_lab.lab.listening import listens


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_counts_from_the_moment_that_it_is_listened_on(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as server:
        server.bind((address, 0))
        port = server.getsockname()[1]
        assert not listens(os.getpid(), port)
        server.listen()
        assert listens(os.getpid(), port)


def test_nothing_is_listened_on_where_the_process_is_gone() -> None:
    assert not listens(2**22 + 1, 80)

"""A gateway whose clock is far off writes tickets that can be read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from perdure.ticket_store import TicketStore

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = bytes(32)


@pytest.mark.parametrize("now", [-5.0, 1e15])
async def test_a_ticket_that_was_used_by_a_clock_that_cannot_be_is_read_again(tmp_path: Path, now: float) -> None:
    store = TicketStore(tmp_path)
    ticket = store.create("ada", now=now, uses=1)
    store.begin_serving("ws://127.0.0.1:1")
    store.began(ticket.ticket_id, CLIENT, now=now)
    store.ended(ticket.ticket_id, CLIENT, now=now)
    await store.end_serving()
    (read,) = TicketStore(tmp_path)
    assert list(read.clients) == [CLIENT]
    TicketStore(tmp_path).revoke("ada", now=now)
    (revoked,) = TicketStore(tmp_path)
    assert revoked.revoked_at is not None

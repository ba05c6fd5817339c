"""A folder with more tickets than a gateway reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from perdure.admission import ServedTicket
from perdure.errors import TicketError
from perdure.ticket_store import TicketStore
from perdure.ticket_store.folder import MAX_TICKETS
from perdure.ticket_store.record import encode_ticket

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000


def name_of(number: int) -> str:
    """In order of the numbers."""
    return f"t{number:05d}"


def fill(state: Path, count: int) -> None:
    """Put so many tickets there, at once."""
    (state / "tickets").mkdir()
    ticket = ServedTicket("", bytes(32), NOW)
    for number in range(count):
        path = state / "tickets" / f"{name_of(number)}.json"
        path.write_bytes(encode_ticket(replace(ticket, name=name_of(number), secret=number.to_bytes(32))))
        path.chmod(0o600)


def test_beyond_so_many_tickets_a_store_reads_none_and_makes_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, MAX_TICKETS + 2)
    store = TicketStore(tmp_path)
    assert list(store.names) == [name_of(number) for number in range(MAX_TICKETS)]
    text = f"holds over {MAX_TICKETS} tickets; those from {name_of(MAX_TICKETS)} on are left out"
    assert text in caplog.text
    with pytest.raises(TicketError, match=f"there are {MAX_TICKETS} tickets already; delete those in .* that nobody"):
        store.create("ada", now=NOW)
    assert not (tmp_path / "tickets" / "ada.json").exists()
    (tmp_path / "tickets" / f"{name_of(0)}.json").unlink()
    (tmp_path / "tickets" / f"{name_of(1)}.json").unlink()
    (tmp_path / "tickets" / f"{name_of(2)}.json").unlink()
    assert store.create("ada", now=NOW).name == "ada"

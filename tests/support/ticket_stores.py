"""A gateway's store as the gateway runs it: with its folder's lock, and its watching task."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from perdure.ticket_store import TicketStore
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

URL = "ws://127.0.0.1:1"


@asynccontextmanager
async def serving(
    folder: Path, *, authorized_keys: Path | None = None
) -> AsyncIterator[tuple[TicketStore, asyncio.Event]]:
    """A gateway's store, and what is set at each change."""
    store = TicketStore(folder, authorized_keys=authorized_keys)
    store.begin_serving(URL)
    changed = asyncio.Event()
    store.subscribe(changed.set)
    watching = asyncio.create_task(store.watch())
    try:
        yield store, changed
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        await store.end_serving()


async def next_change(changed: asyncio.Event) -> None:
    await asyncio.wait_for(changed.wait(), TIMEOUT)
    changed.clear()

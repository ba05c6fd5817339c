"""Whose cancellation a CancelledError is."""

from __future__ import annotations

import asyncio


def is_being_cancelled() -> bool:
    """Whether the running task is, rather than something that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

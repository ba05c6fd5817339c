"""How the application's handlers and callbacks are called: none of them can hold up, break or outgrow a tube."""

from __future__ import annotations

from perdure.delivery.callbacks import MAX_RUNNING_CALLS, Callbacks
from perdure.delivery.signal_iterator import MAX_UNREAD_SIGNALS, SignalIterator
from perdure.delivery.signal_queue import MAX_WAITING_SIGNALS, SignalQueue
from perdure.delivery.threads import MAX_HANDLER_THREADS, HandlerThreads, SignalHandler

__all__ = [
    "MAX_HANDLER_THREADS",
    "MAX_RUNNING_CALLS",
    "MAX_UNREAD_SIGNALS",
    "MAX_WAITING_SIGNALS",
    "Callbacks",
    "HandlerThreads",
    "SignalHandler",
    "SignalIterator",
    "SignalQueue",
]

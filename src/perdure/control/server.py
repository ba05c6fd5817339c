"""The unix socket at which a running command answers `perdure status`, `reconnect` and `close`."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, assert_never

from perdure import __version__
from perdure.control.events_file import EventsFile
from perdure.control.folder import SUFFIX, make_own_folder
from perdure.control.messages import (
    MAX_QUESTION_BYTES,
    Answer,
    AskClose,
    AskReconnect,
    AskStatus,
    Done,
    ProcessStatus,
    Question,
    Refused,
    Told,
    encode,
    read_question,
)
from perdure.control.report import Report
from perdure.core.state import Reason
from perdure.errors import ListenError
from perdure.eventlog import log_event
from perdure.state_folder import default_state_folder
from perdure.streams.listening import listen_unix

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from perdure.manager import TunnelConnectionManager
    from perdure.registry import TubeRegistry

log = logging.getLogger(__name__)

QUESTION_TIMEOUT = 5.0
"""Seconds for a question to come, and for its answer to be taken."""

MAX_ASKERS = 16
"""At a time."""


class Controlled:
    """What of a running command is told and steered.

    Args:
        role: `client` or `gateway`.
        rendezvous: its URL, without a login.
        signaling: a sentence: how it is reached.
        forwards: as they were printed.
        close: ends a tunnel.
    """

    def __init__(
        self,
        role: str,
        tubes: TubeRegistry,
        *,
        rendezvous: str,
        signaling: Callable[[], str],
        close: Callable[[TunnelConnectionManager], Awaitable[object]] | None = None,
    ) -> None:
        self.role = role
        self.tubes = tubes
        self.forwards: Sequence[str] = ()
        self._rendezvous = rendezvous
        self._signaling = signaling
        self._close = close or _close
        self._started_at = time.time()
        self._report = Report(tubes)

    def end(self) -> None:
        """Learn no more of the tubes."""
        self._report.close()

    def status(self) -> ProcessStatus:
        return ProcessStatus(
            role=self.role,
            pid=os.getpid(),
            version=__version__,
            started_at=self._started_at,
            now=time.time(),
            rendezvous=self._rendezvous,
            signaling=self._signaling(),
            forwards=tuple(self.forwards),
            tunnels=self._report.tunnels(),
        )

    async def answer(self, question: Question) -> Answer:
        """Do what is asked."""
        match question:
            case AskStatus():
                return Told(self.status())
            case AskReconnect(name):
                if not (managers := self._named(name)):
                    return _unknown(name)
                for manager in managers:
                    manager.rebuild()
                return Done(len(managers))
            case AskClose(name, stream_id):
                if not (managers := self._named(name)):
                    return _unknown(name)
                if stream_id is None:
                    await self._close(managers[0])
                    return Done(1)
                for stream in list(managers[0].tube.streams):
                    if stream.stream_id == stream_id:
                        stream.abort()
                        return Done(1)
                return Refused(f"the tunnel {name} has no stream {stream_id}")
            case _:
                assert_never(question)

    def _named(self, name: str | None) -> list[TunnelConnectionManager]:
        return [manager for manager in self.tubes if manager.is_open and name in (None, manager.tube_id)]


def _unknown(name: str | None) -> Refused:
    return Refused("it has no tunnel now" if name is None else f"it has no tunnel {name}")


async def _close(manager: TunnelConnectionManager) -> None:
    await manager.shutdown(Reason.CLOSED_LOCALLY, "perdure close")


@contextmanager
def kept_events(folder: Path | None, role: str) -> Iterator[None]:
    """Keep what is logged in the state folder (`None`: the usual one) until the block ends, for `perdure events`. Where
    that cannot be, it is logged, and all goes on without."""
    perdure_log = logging.getLogger("perdure")
    try:
        handler = EventsFile(default_state_folder(os.environ) if folder is None else folder, role)
    except (OSError, RuntimeError) as error:
        why = f"`perdure events` will not know of this process: {error}"
        log_event(log, logging.WARNING, "events-file", problem=why)
        yield
        return
    perdure_log.setLevel(min(perdure_log.level, logging.INFO))  # the terminal's level is its handler's
    perdure_log.addHandler(handler)
    handler.note("started", version=__version__)
    why = "it was stopped, or had nothing more to do"
    try:
        yield
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise
    finally:
        handler.note("ended", why=why)
        perdure_log.removeHandler(handler)
        handler.close()


@asynccontextmanager
async def control_socket(controlled: Controlled) -> AsyncIterator[None]:
    """Answer at a socket of this process until the block ends. Where none can be made, that is logged, and all goes
    on without."""
    askers: set[asyncio.Task[None]] = set()

    def accept() -> asyncio.Protocol:
        reader = asyncio.StreamReader(limit=MAX_QUESTION_BYTES, loop=asyncio.get_running_loop())
        return asyncio.StreamReaderProtocol(reader, begin, loop=asyncio.get_running_loop())

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(askers) >= MAX_ASKERS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(_serve(controlled, reader, writer))
        askers.add(task)
        task.add_done_callback(askers.discard)

    server = None
    try:
        folder = make_own_folder(os.environ)
        server = await listen_unix(str(folder / f"{controlled.role}-{os.getpid()}{SUFFIX}"), accept)
    except (OSError, ListenError) as error:
        why = f"`perdure status` will not see this process: {error}"
        log_event(log, logging.WARNING, "control-socket", problem=why)
    try:
        yield
    finally:
        controlled.end()
        if server is not None:
            server.close()
        for task in askers:
            task.cancel()


async def _serve(controlled: Controlled, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(QUESTION_TIMEOUT):
            line = await reader.readline()
            try:
                answer = await controlled.answer(read_question(line))
            except ValueError as error:
                answer = Refused(f"the question cannot be read: {error}")
            writer.write(encode(answer))
            await writer.drain()
    except (OSError, TimeoutError):
        pass  # whoever asked has gone
    except ValueError:
        writer.transport.abort()  # a line without end
    finally:
        writer.close()

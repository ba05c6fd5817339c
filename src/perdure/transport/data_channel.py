"""The engine's data channel, without its Python wrapper for each message: that took most of a round trip's time.

1. The engine puts what happens into a mailbox. The channels of an event loop share one of their own (`_Mailbox`); the
   wrapper's mailbox has everything else. So events of channels and of connections overtake each other: a channel may be
   open before the path is known. That it is open is told then, and what it says meanwhile waits behind it.
2. A native object belongs to the mailbox that it is bound to first, and a channel by default to its connection's. So
   `connect` binds the channel before the wrapper sees the connection.
3. Only this file and `engine` use the engine's private names. They are those of the version that pyproject.toml pins;
   `check_engine` says what another version lacks.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary, finalize, ref

import webrtc
import wrtc
from webrtc.utils import loops

OPENING_LOOKS = 10
LOOK_INTERVAL = 0.001
"""An open channel is told once its listener knows the path, which the engine's wrapper tells up to 7 ms later on a busy
machine (measured); and after 10 looks in any case."""

MAX_RECORDS = 100
"""Of the mailbox, handled in one turn of the event loop, so that other work goes on; as many as the wrapper handles."""

_NEEDED = {
    wrtc.Mailbox: ("ackWake", "close", "disableWake", "enableWake", "id", "take"),
    wrtc.RTCPeerConnection: ("close", "createDataChannel"),
    wrtc.RTCDataChannel: (
        *("_bind", "_decreaseBufferedAmount", "_id", "_surfaceState"),
        *("bufferedAmount", "bufferedAmountLowThreshold", "send"),
    ),
    webrtc.RTCPeerConnection: ("_wrap",),
    webrtc.RTCConfiguration: ("_to_native",),
    loops: ("_wake",),
    wrtc: ("_set_wake",),
}


def check_engine() -> None:
    """Raise `ImportError` where the installed engine is not made as this file uses it."""
    missing = [
        f"{getattr(owner, '__qualname__', owner.__name__)}.{name}"
        for owner, names in _NEEDED.items()
        for name in names
        if not hasattr(owner, name)
    ]
    if missing:
        raise ImportError(f"perdure needs wrtc 0.1.0; the installed one has no {', '.join(missing)}", name="wrtc")


_Record = tuple[str, int, bool, tuple[Any, ...]]
"""What the engine's mailbox hands out: an event's name, two fields that only the answers to calls use, and the event's
arguments, the native object first."""


class ChannelListener(Protocol):
    """What a channel tells, on its event loop's thread; nothing after `DataChannel.let_go`."""

    def channel_may_open(self) -> bool:
        """Whether it knows what it needs when `channel_opened` is told; asked again a millisecond later."""

    def channel_opened(self) -> None: ...

    def channel_message(self, message: bytes) -> None:
        """Texts are not told: nobody who speaks perdure's protocol sends one."""

    def channel_drained(self) -> None:
        """No more than the low threshold waits to be sent."""

    def channel_closed(self) -> None: ...


class DataChannel:
    """A channel that is negotiated in advance, as stream 0."""

    __slots__ = ("_mailbox", "listener", "native", "waiting")

    def __init__(self, native: wrtc.RTCDataChannel, mailbox: _Mailbox) -> None:
        self.native = native
        self.listener: ChannelListener | None = None
        """Who is told."""
        self.waiting: list[_Record] | None = None
        """"open" and what came behind it, until they are told."""
        self._mailbox = mailbox
        mailbox.add(self)

    @property
    def buffered_bytes(self) -> int:
        """What waits to be sent."""
        return self.native.bufferedAmount  # type: ignore[no-any-return]

    def set_low_threshold(self, size: int) -> None:
        self.native.bufferedAmountLowThreshold = size

    def send(self, message: bytes) -> None:
        """Queue it.

        Raises:
            webrtc.InvalidStateError: the channel is not open.
            webrtc.RTCException, TypeError: the engine does not take it.
        """
        self.native.send(message, True)

    def let_go(self) -> None:
        """Tell nothing any more. Its connection is closed by the caller. Twice is fine."""
        self.listener = None
        self._mailbox.remove(self)


def connect(wanted: webrtc.RTCConfiguration) -> tuple[webrtc.RTCPeerConnection, DataChannel]:
    """A connection and its channel, both of the running event loop."""
    native = wrtc.RTCPeerConnection(wanted._to_native())
    try:
        native_channel = native.createDataChannel("perdure", True, None, None, "", True, 0, webrtc.RTCPriorityType.low)
        channel = DataChannel(native_channel, _mailbox_of(asyncio.get_running_loop()))
    except BaseException:
        native.close()
        raise
    return webrtc.RTCPeerConnection._wrap(native), channel


class _Mailbox:
    """What the engine tells of the channels of one event loop. It is there while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._native = wrtc.Mailbox()
        finalize(self, self._native.close)
        self._channels: dict[int, DataChannel] = {}
        """By the engine's number for them."""
        self._descriptor: int | None = None
        self._is_scheduled = False
        if (descriptor := self._native.enableWake()) is not None:
            try:
                loop.add_reader(descriptor, self._woken)
            except NotImplementedError:
                self._native.disableWake()
            else:
                self._descriptor = descriptor
        if self._descriptor is None:
            _by_number[self._native.id] = self

    def add(self, channel: DataChannel) -> None:
        channel.native._bind(self._native)
        self._channels[channel.native._id] = channel

    def remove(self, channel: DataChannel) -> None:
        self._channels.pop(channel.native._id, None)
        if not self._channels and _found(self._loop) is self:
            _mailboxes.pop(self._loop, None)
            if self._descriptor is not None:
                self._loop.remove_reader(self._descriptor)
            self.close()

    def close(self) -> None:
        """What waits in it holds engine objects: let them go."""
        _by_number.pop(self._native.id, None)
        self._native.close()

    def wake_from_any_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._drain)

    def _woken(self) -> None:
        self._native.ackWake()  # first: what comes from here on wakes again
        if not self._is_scheduled:
            self._drain()

    def _drain_the_rest(self) -> None:
        self._is_scheduled = False
        self._drain()

    def _drain(self) -> None:
        is_empty = False
        try:
            is_empty = self._handle_some()
        finally:  # a listener may raise SystemExit, and the engine wakes an empty mailbox alone
            if not is_empty and not self._is_scheduled:
                self._is_scheduled = True
                self._loop.call_soon(self._drain_the_rest)

    def _handle_some(self) -> bool:
        """Whether there is nothing left."""
        take, channels = self._native.take, self._channels
        for _ in range(MAX_RECORDS):
            if (record := take()) is None:
                return True
            if (channel := channels.get(record[3][0]._id)) is None:
                continue
            if channel.waiting is not None:
                channel.waiting.append(record)
            elif record[0] == "open":
                channel.waiting = [record]
                self._tell_what_waits(channel)
            else:
                self._tell(channel, record)
        return False

    def _tell_what_waits(self, channel: DataChannel, looks: int = OPENING_LOOKS) -> None:
        listener = channel.listener
        if looks and listener is not None and not listener.channel_may_open():
            self._loop.call_later(LOOK_INTERVAL, self._tell_what_waits, channel, looks - 1)
            return
        waiting, channel.waiting = iter(channel.waiting or ()), None
        try:
            for record in waiting:
                self._tell(channel, record)
        finally:
            if rest := list(waiting):
                channel.waiting = rest
                self._loop.call_soon(self._tell_what_waits, channel, 0)

    def _tell(self, channel: DataChannel, record: _Record) -> None:
        name, _, _, arguments = record
        listener = channel.listener
        try:
            if name == "message":
                if listener is not None and type(arguments[1]) is bytes:
                    listener.channel_message(arguments[1])
            elif name == "_sent":
                if channel.native._decreaseBufferedAmount(arguments[1]) and listener is not None:
                    listener.channel_drained()
            elif name in ("open", "closing", "close"):
                channel.native._surfaceState(arguments[1])
                if listener is not None and name == "open":
                    listener.channel_opened()
                elif listener is not None and name == "close":
                    listener.channel_closed()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # as asyncio: what one handler raises is not the others'
            text = f"Exception in perdure at a data channel's {name!r}"
            self._loop.call_exception_handler({"message": text, "exception": error})


_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[_Mailbox]] = WeakKeyDictionary()
"""An open loop and the channels hold their mailbox. What a closed loop left open goes with it: held here, the engine
would go on answering its peers."""
_by_number: WeakValueDictionary[int, _Mailbox] = WeakValueDictionary()
"""Those whose event loop cannot watch a descriptor, as Windows' cannot."""


def _mailbox_of(loop: asyncio.AbstractEventLoop) -> _Mailbox:
    if (mailbox := _found(loop)) is None:
        for reference in _mailboxes.keyrefs():  # a list: other threads do the same
            if (other := reference()) is not None and other.is_closed():
                if (left := _found(other)) is not None:
                    left.close()
                _mailboxes.pop(other, None)
        mailbox = _Mailbox(loop)
        _mailboxes[loop] = ref(mailbox)
    return mailbox


def _found(loop: asyncio.AbstractEventLoop) -> _Mailbox | None:
    reference = _mailboxes.get(loop)
    return None if reference is None else reference()


def _wake(number: int) -> None:
    """A mailbox without a descriptor has something; on a thread of the engine's."""
    if (mailbox := _by_number.get(number)) is not None:
        mailbox.wake_from_any_thread()
    else:
        loops._wake(number)


check_engine()
wrtc._set_wake(_wake)

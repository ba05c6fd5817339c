"""The carriers beside the current one: the spare, which may replace it, and the one before it.

Rules:
1. On a spare nothing but HELLO and RESUME is sent until both ends are proved on it. Its RESUME takes nothing as told: a
   spare may be dropped.
2. Once the peer is proved on the spare the session goes on there, from what is acknowledged for certain: what is not is
   sent again, and what was told on the carrier that is left is told again. While the current one works, padding may go
   out on the spare before that (`spare_padding`).
3. That carrier is still read and no longer written. It is of no use once the peer says something on the new one behind
   its RESUME; padding says nothing.
4. A spare may stand by: both ends prove themselves on it, and the session goes on where it is. PING and PONG may then
   be said there with tokens of their own, and mean that carrier alone, also where one end has gone on there already, or
   takes it for a spare like any other. An end goes on there when it likes; the peer follows with the first other frame
   that it hears there. The RESUMEs' positions are old by then and mean nothing: what was acknowledged counts.
5. The positions in a spare's RESUME may be old when they arrive. That a stream is absent from it means that it is gone
   only where its OPEN was acknowledged before the spare was begun.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from perdure.session.events import PeerSwitched, StandbyAnswered, StandbyAsked
from perdure.session.spare_padding import padding_for
from perdure.wire import Ping, Pong, encode_frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.session.events import SessionEvent
    from perdure.session.handshake import Handshake
    from perdure.session.receiver import Inbound
    from perdure.session.spare_padding import SparePadding
    from perdure.session.stream import Stream
    from perdure.wire import Resume

FIRST_TOKEN = 1 << 32
"""Of the PINGs on a carrier that stands by. Those of the current carrier count from 1, and it may become that."""


class Beside:
    """Made where a spare is begun; `None` takes its place once there is neither."""

    __slots__ = (
        "_acknowledged_before",
        "_awaited",
        "_token",
        "old",
        "padding",
        "resume",
        "spare",
        "stands_by",
    )

    def __init__(self) -> None:
        self.stands_by = False
        """Whether the spare does, or the one that is being made; to be read."""
        self.resume: Resume | None = None
        """The peer's on the spare that stands by, without its positions: they are old when they are needed."""
        self._token = FIRST_TOKEN
        """Of the last PING on the carrier that stands by."""
        self._awaited: int | None = None
        """The same, while it has no answer."""
        self.spare: Handshake | None = None
        """Of the spare, once it is open."""
        self.old: Handshake | None = None
        """Of the carrier before the current one, while it is read."""
        self.padding: SparePadding | None = None
        """Of the spare, while the peer is proved on it and the session goes on on the current carrier."""
        self._acknowledged_before: frozenset[int] | None = None
        """The streams whose OPEN the peer had acknowledged when the spare was begun; `None`: none was."""

    def spare_begun(self, streams: Iterable[Stream], *, stands_by: bool) -> Beside:
        """A new one is being made."""
        self.spare = self.padding = self.resume = None
        self.stands_by = stands_by
        known = frozenset(each.stream_id for each in streams if each.open_acknowledged)
        self._acknowledged_before = frozenset() if stands_by else known
        return self

    @property
    def standby(self) -> Handshake | None:
        """Of the spare that stands by, while the peer is proved on it."""
        return self.spare if self.resume is not None and self.spare is not None and self.spare.is_resumed else None

    def proves_standby(self, handshake: Handshake, resume: Resume) -> bool:
        """The peer is proved by `resume`: whether that is on the spare, and it stands by."""
        if not self.stands_by or handshake is not self.spare:
            return False
        self.resume = replace(resume, positions=())
        return True

    def resume_on_spare(self, *, stands_by: bool) -> Resume | None:
        """What to go on with there."""
        if stands_by:
            return None if self.standby is None else self.resume
        return None if self.padding is None else self.padding.resume

    def ask(self) -> bytes | None:
        """A PING for the carrier that stands by; `None`: there is none."""
        if self.standby is None:
            return None
        self._token += 1
        self._awaited = self._token
        return encode_frame(Ping(self._token))

    def takes(self, frame: Inbound, on: Handshake, current: Handshake, events: list[SessionEvent]) -> bool:
        """What a frame `on` a carrier where the peer is proved says of these; whether it says nothing else."""
        match frame:
            case Ping(token) if on is self.standby and token >= FIRST_TOKEN:
                self._answer(encode_frame(Pong(token)), on, events)
                return True
            case Pong(token) if on is self.standby:
                if token == self._awaited:
                    self._awaited = None
                    events.append(StandbyAnswered(on.generation))
                return True
            case Ping(token) | Pong(token) if token >= FIRST_TOKEN:  # the peer takes it for a standby still
                return False
        if on is current and self.old is not None:
            old, self.old = self.old, None
            events.append(PeerSwitched(old.generation))
        return False

    def _answer(self, answer: bytes, on: Handshake, events: list[SessionEvent]) -> None:
        """With what answers the PINGs before it in one message: each message costs the engine as much."""
        before = events[-1] if events else None
        if isinstance(before, StandbyAsked) and len(before.answer) + len(answer) <= on.max_message_bytes:
            answer = before.answer + answer
            events.pop()
        events.append(StandbyAsked(on.generation, answer))

    def pad(self, resume: Resume, under_way_bytes: int, round_trip: float | None, now: float) -> None:
        """The peer is proved on the spare by `resume`: padding goes first, where that is worth while."""
        self.padding = padding_for(resume, under_way_bytes, round_trip, now)

    def next_padding(self, now: float) -> bytes | None:
        """The next message for the spare."""
        if self.padding is None or self.spare is None or not self.spare.is_resumed:
            return None
        return self.padding.take(now)

    def leaves_at(self, current: Handshake, heard_at: float | None, awaiting_since: float | None) -> float | None:
        """When the session leaves the current carrier, if the spare waits for its padding."""
        if self.padding is None or self.spare is None or not self.spare.is_resumed:
            return None
        if heard_at is None or not current.is_resumed:
            return -inf
        return self.padding.ends_at(heard_at, awaiting_since)

    def switch(self, current: Handshake) -> frozenset[int]:
        """The spare takes the place of the current one. Returns the streams whose absence from its RESUME counts."""
        self.spare, self.old = None, current if current.is_resumed else None
        self.padding = self.resume = None
        self.stands_by = False
        known, self._acknowledged_before = self._acknowledged_before, None
        return known or frozenset()

    def find(self, generation: int) -> Handshake | None:
        """The handshake of that carrier, where it is one of these."""
        for handshake in (self.spare, self.old):
            if handshake is not None and handshake.generation == generation:
                return handshake
        return None

    def without_spare(self) -> Beside | None:
        """There is none any more, or it will not be."""
        self.spare = self.padding = self.resume = self._acknowledged_before = None
        self.stands_by = False
        return self if self.old is not None else None

    def without_old(self) -> Beside | None:
        """The one before is gone."""
        self.old = None
        return self if self._acknowledged_before is not None else None

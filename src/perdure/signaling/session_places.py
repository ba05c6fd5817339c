"""A gateway's sessions: which hold a place, which have ended, and under which peer id each client is. Pure.

1. A session without a channel (nobody has proved to have read its WELCOME) is the first to go when there is no room:
   the oldest of the ticket that has most of them, so that one holder's knocks cost nobody else the place.
2. A knock alone moves a session to no other peer id: it is only expected there, until its client has proved itself.
3. One that has ended is remembered, so that its last words still arrive, and it is not begun again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure.admission import Holder
    from perdure.signaling.channel import PeerChannel
    from perdure.signaling.envelope import DataKeys
    from perdure.signaling.messages import RTCIceServer

MAX_ENDED_SESSIONS = 1024
"""Remembered, some 3 KiB each; a client of one that is forgotten begins it again, as if it had never been."""


@dataclass(slots=True, eq=False)
class Session:
    """One client's tube, as far as signaling knows it."""

    session_id: bytes
    holder: Holder
    knock_number: int
    peer_id: str = ""
    """Under which its client has proved itself last; empty before."""
    pending: DataKeys | None = None
    pending_peer_id: str = ""
    """From which the knock of the pending keys came."""
    keys: DataKeys | None = None
    channel: PeerChannel | None = None
    welcomed_with: tuple[RTCIceServer, ...] = ()
    """The ICE servers that its last WELCOME named."""


class SessionPlaces:
    """All sessions. Its length, and what it iterates over, are those that hold one of `most` places."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sessions: dict[bytes, Session] = {}
        self._by_peer: dict[str, dict[Session, None]] = {}
        """The ended too, and each also under the peer id that it is expected from. Not by session id: one that has
        ended stays beside the one with the same id that its client has knocked for since."""
        self._ended: dict[bytes, Session] = {}
        """The oldest first."""

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def find(self, session_id: bytes) -> Session | None:
        """The session that holds a place."""
        return self._sessions.get(session_id)

    def has_ended(self, session_id: bytes) -> bool:
        """Whether a session with this id has ended here, as far as it is remembered."""
        return session_id in self._ended

    @property
    def ended_channels(self) -> list[PeerChannel]:
        """Those whose last words may be on their way."""
        return [session.channel for session in self._ended.values() if session.channel is not None]

    @property
    def peers(self) -> list[str]:
        """The peer ids of all clients."""
        return list(self._by_peer)

    @property
    def proved_peers(self) -> list[str]:
        """The peer ids under which the clients of sessions with a place have proved themselves, in order."""
        return sorted({session.peer_id for session in self._sessions.values() if session.peer_id})

    def of_peer(self, peer_id: str) -> list[Session]:
        """The sessions of a client that has proved itself under this peer id, the ended too."""
        return [session for session in self.expected_from(peer_id) if session.peer_id == peer_id]

    def has_proved(self, peer_id: str) -> bool:
        """Whether a client that holds a place has proved itself under this peer id."""
        return any(self._sessions.get(session.session_id) is session for session in self.of_peer(peer_id))

    def expected_from(self, peer_id: str) -> list[Session]:
        """The sessions whose client is, or says that it is, under this peer id; the ended too."""
        return list(self._by_peer.get(peer_id, {}))

    def make_room(self) -> bool:
        """Whether another session has a place; for it, one without a channel may go."""
        if len(self._sessions) < self._most:
            return True
        unclaimed = [session for session in self._sessions.values() if session.channel is None]
        if not unclaimed:
            return False
        counts = Counter(session.holder.ticket_id for session in unclaimed)
        most = max(counts.values())
        leaving = next(session for session in unclaimed if counts[session.holder.ticket_id] == most)
        del self._sessions[leaving.session_id]
        self._forget(leaving)
        return True

    def add(self, session: Session) -> None:
        """It holds a place."""
        self._sessions[session.session_id] = session

    def expect(self, session: Session, peer_id: str) -> None:
        """Somebody has knocked for it from this peer id."""
        if session.pending_peer_id != session.peer_id:
            self._leave_peer(session, session.pending_peer_id)
        session.pending_peer_id = peer_id
        self._by_peer.setdefault(peer_id, {})[session] = None

    def move(self, session: Session, peer_id: str) -> None:
        """Its client has proved itself under this peer id."""
        self._leave_peers(session)
        session.peer_id, session.pending_peer_id = peer_id, ""
        self._by_peer.setdefault(peer_id, {})[session] = None

    def end(self, session: Session) -> None:
        """Its channel was closed: it holds no place, and is remembered in place of an older one with its id."""
        self._sessions.pop(session.session_id, None)
        older = self._ended.pop(session.session_id, None)
        if older is not None and older is not session:
            self._forget(older)
        self._ended[session.session_id] = session
        if len(self._ended) > MAX_ENDED_SESSIONS:
            self._forget(self._ended.pop(next(iter(self._ended))))

    def _forget(self, session: Session) -> None:
        self._leave_peers(session)
        if session.channel is not None:
            session.channel.end()

    def _leave_peers(self, session: Session) -> None:
        for peer_id in (session.peer_id, session.pending_peer_id):
            self._leave_peer(session, peer_id)

    def _leave_peer(self, session: Session, peer_id: str) -> None:
        of_peer = self._by_peer.get(peer_id, {})
        if session in of_peer:
            del of_peer[session]
            if not of_peer:
                del self._by_peer[peer_id]
